-- A file opened read-only can be read and asked, not changed.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
--> open r a.db read-only
SELECT * FROM t;
SELECT count(*) FROM nuda_changes;
SELECT name FROM nuda_tables;
INSERT INTO t VALUES ('b', 1);
SELECT nuda_track('t2');
--> on a
CREATE TABLE other(id TEXT PRIMARY KEY);
--> open x x.db
CREATE TABLE t(id TEXT PRIMARY KEY);
--> close x
--> open x x.db read-only
SELECT nuda_init();
