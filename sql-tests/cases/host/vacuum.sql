--# portable
-- VACUUM renumbers rowids, and replication goes by the key.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3);
DELETE FROM t WHERE id = 'a';
--> replica b of a
--> on a
VACUUM;
UPDATE t SET v = 30 WHERE id = 'c';
--> on b
VACUUM;
UPDATE t SET v = 20 WHERE id = 'b';
--> sync
SELECT * FROM t ORDER BY id;
PRAGMA integrity_check;
