--# portable
-- Edits of different columns and rows made at the same time on three members all survive.
CREATE TABLE t(id TEXT PRIMARY KEY, x, y, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('r', 0, 0, 0), ('s', 0, 0, 0);
--> replica b of a
--> replica c of a
--> on a
UPDATE t SET x = 'a', n = n + 1 WHERE id = 'r';
--> on b
UPDATE t SET y = 'b', n = n + 10 WHERE id = 'r';
--> on c
INSERT INTO t VALUES ('t', 'c', 'c', 5);
UPDATE t SET n = n + 100;
--> sync
--> on a
SELECT * FROM t ORDER BY id;
SELECT count(*) FROM nuda_conflicts;
