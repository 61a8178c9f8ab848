--# portable
-- Changesets that arrive twice, backwards, or before what they depend on.
CREATE TABLE t(id TEXT PRIMARY KEY, v, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('r', 0, 0);
--> replica b of a
--> replica c of a
--> on a
UPDATE t SET n = n + 1;
UPDATE t SET n = n + 1;
UPDATE t SET n = n + 1;
--> ship a b reversed
--> ship a b
--> on b
SELECT n FROM t;
SELECT count(*) FROM nuda_waiting;
-- A dependent change of b, to c, which lacks what it saw; it waits until that arrives.
DELETE FROM t;
INSERT INTO t VALUES ('r', 'b', 10);
--> on c
SELECT count(*) FROM t;
--> dump b c
SELECT n, v FROM t;
SELECT waiting > 0 FROM nuda_status;
--> ship a c twice
SELECT n, v FROM t;
SELECT waiting FROM nuda_status;
--> sync
