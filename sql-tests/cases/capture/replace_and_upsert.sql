--# portable
-- REPLACE fires no delete trigger by default; a replaced row is an update all the same.
CREATE TABLE t(id TEXT PRIMARY KEY, x, y);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1, 2), ('b', 3, 4);
REPLACE INTO t VALUES ('a', 1, 20);
INSERT OR REPLACE INTO t VALUES ('c', 5, 6);
INSERT INTO t VALUES ('b', 7, 8) ON CONFLICT(id) DO UPDATE SET x = excluded.x;
INSERT INTO t VALUES ('b', 9, 9) ON CONFLICT(id) DO NOTHING;
INSERT OR IGNORE INTO t VALUES ('b', 9, 9);
-- A key change onto a key that exists: that row goes, this one moves.
UPDATE OR REPLACE t SET id = 'c' WHERE id = 'b';
SELECT seq, change, "key", columns FROM nuda_changes WHERE seq > 1 ORDER BY seq, change;
SELECT * FROM t ORDER BY id;
