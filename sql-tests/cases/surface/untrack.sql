--# portable
-- A table that is no longer replicated keeps its rows, everywhere.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
CREATE TABLE u(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t'), nuda_track('u');
INSERT INTO t VALUES ('a', 1);
INSERT INTO u VALUES ('a', 1);
--> replica b of a
SELECT nuda_untrack('t');
--> on a
SELECT nuda_untrack('none');
SELECT nuda_untrack('t');
INSERT INTO t VALUES ('b', 2);
UPDATE u SET v = 2;
--> ship a b
--> on b
SELECT * FROM t;
SELECT * FROM u;
INSERT INTO t VALUES ('only here', 3);
SELECT name FROM nuda_tables WHERE kind = 'eventual';
