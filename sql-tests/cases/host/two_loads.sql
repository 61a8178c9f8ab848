-- Loading twice, in one connection or in several, changes nothing.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
--> load
--> load
INSERT INTO t VALUES ('b', 2);
--> open second a.db
--> load
INSERT INTO t VALUES ('c', 3);
SELECT seq, change, "key" FROM nuda_changes ORDER BY seq;
