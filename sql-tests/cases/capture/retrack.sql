--# portable
-- A table tracked again is a new one: where the old rows are, they are in the way, and nothing is overwritten.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
--> replica b of a
--> on a
SELECT nuda_untrack('t');
INSERT INTO t VALUES ('b', 2);
SELECT nuda_track('t');
INSERT INTO t VALUES ('c', 3);
--> ship a b
--> on b
SELECT * FROM t ORDER BY id;
