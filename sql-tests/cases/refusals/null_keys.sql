--# portable
-- SQLite allows NULL in a TEXT primary key; replicas could not tell such rows apart.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES (NULL, 1);
SELECT count(*) FROM t;
