--# portable
-- Two nodes that invent keys at the same time never invent the same.
CREATE TABLE t(id INTEGER PRIMARY KEY, v);
SELECT nuda_track('t', 'eventual', 'site_ranges');
--> replica b of a
--> replica c of a
--> on a
INSERT INTO t(v) VALUES ('a1'), ('a2');
--> on b
INSERT INTO t(v) VALUES ('b1'), ('b2'), ('b3');
--> on c
INSERT INTO t(v) VALUES ('c1');
--> sync
SELECT count(*), count(DISTINCT id / 64) FROM t;
-- Whoever has not the greatest key begins a block, the others go on in theirs.
--> on a
INSERT INTO t(v) VALUES ('a3');
--> on b
INSERT INTO t(v) VALUES ('b4');
--> on c
INSERT INTO t(v) VALUES ('c2');
--> sync
SELECT count(*), count(DISTINCT (id / 64) % 1048576), group_concat(v) FROM (SELECT * FROM t ORDER BY v);
-- A copy of a file takes keys of its own, before it has written anything.
--> on a
PRAGMA wal_checkpoint(truncate);
--> copy a.db d.db
--> open d
INSERT INTO t(v) VALUES ('d1');
--> on a
INSERT INTO t(v) VALUES ('a4');
--> dump d a
SELECT count(*), count(DISTINCT id) FROM t;
-- A table that is altered keeps the option.
ALTER TABLE t ADD COLUMN w DEFAULT 'w';
INSERT INTO t(v) VALUES ('a5');
SELECT version, options FROM nuda_tables;
INSERT INTO t VALUES (1000000000000000, 'far', 'x');
INSERT INTO t(v, w) VALUES ('a6', 'y');
--> on b
--> ship a b
INSERT INTO t(v) VALUES ('b5');
SELECT count(*), count(DISTINCT id) FROM t;
--> close d
--> sync
