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
-- A second copy of the library in the process: the first one stays in charge of each connection.
--> load copy
INSERT INTO t VALUES ('d', 4);
UPDATE t SET v = v + 1;
--> open third a.db
INSERT INTO t VALUES ('e', 5);
BEGIN;
INSERT INTO t VALUES ('f', 6);
ROLLBACK;
SELECT seq, change, group_concat("key") FROM (SELECT * FROM nuda_changes WHERE seq > 4 ORDER BY seq, "key") GROUP BY seq;
--> replica b of a
--> load copy
UPDATE t SET v = -1 WHERE id = 'e';
--> close second
--> close third
--> sync
