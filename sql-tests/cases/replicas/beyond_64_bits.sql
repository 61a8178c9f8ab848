--# portable
-- Counters whose sum leaves 64 bits on the way end where they would have without limits.
CREATE TABLE t(id TEXT PRIMARY KEY, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('big', 9223372036854775804);
--> replica b of a
--> replica c of a
--> on a
UPDATE t SET n = n + 3;
--> on b
UPDATE t SET n = n + 2;
--> on c
UPDATE t SET n = n - 4;
--> ship b a
--> on a
SELECT n FROM t;
UPDATE t SET n = n - 1;
--> ship c a
--> sync
SELECT n FROM t;
SELECT count(*) FROM nuda_excess;
