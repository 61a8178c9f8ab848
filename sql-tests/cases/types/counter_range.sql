--# portable
-- A counter's sum that no INTEGER holds does not stop replication.
CREATE TABLE c(id TEXT PRIMARY KEY, n COUNTER);
SELECT nuda_track('c');
INSERT INTO c VALUES ('x', 9223372036854775800);
--> replica b of a
UPDATE c SET n = n + 7;
--> on a
UPDATE c SET n = n + 7;
--> ship a b
--> ship b a
SELECT n FROM c;
--> on b
SELECT n FROM c;
