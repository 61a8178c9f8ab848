--# portable
-- A conflict policy of the statement never lets through what cannot be replicated.
CREATE TABLE t(id TEXT PRIMARY KEY, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
INSERT OR IGNORE INTO t VALUES ('b', 'x');
INSERT OR IGNORE INTO t VALUES ('b', NULL);
INSERT OR REPLACE INTO t VALUES ('a', 1.5);
UPDATE OR IGNORE t SET n = NULL;
UPDATE OR FAIL t SET n = 'x';
INSERT OR IGNORE INTO t VALUES (NULL, 1);
BEGIN;
INSERT INTO t VALUES ('c', 1);
INSERT OR IGNORE INTO t VALUES ('d', 'x');
INSERT OR IGNORE INTO t VALUES ('e', 5);
COMMIT;
SELECT * FROM t ORDER BY id;
SELECT seq, change, "key", columns FROM nuda_changes ORDER BY seq, "key";
