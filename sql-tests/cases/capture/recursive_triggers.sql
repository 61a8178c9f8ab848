--# portable
-- With recursive_triggers on, REPLACE does fire delete triggers; the net effect is the same.
PRAGMA recursive_triggers = on;
CREATE TABLE t(id TEXT PRIMARY KEY, x, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1, 10), ('b', 2, 20);
--> replica b of a
UPDATE t SET n = n + 1 WHERE id = 'a';
--> on a
REPLACE INTO t VALUES ('a', 1, 15);
UPDATE OR REPLACE t SET id = 'b' WHERE id = 'a';
SELECT seq, change, "key", columns FROM nuda_changes WHERE seq > 2 ORDER BY seq, change;
--> sync
SELECT * FROM t ORDER BY id;
-- Inserted and replaced in one transaction: an insert.
BEGIN;
INSERT INTO t VALUES ('c', 3, 30);
REPLACE INTO t VALUES ('c', 4, 40);
COMMIT;
SELECT change, "key", columns FROM nuda_changes WHERE "key" = 'c';
--> sync
SELECT * FROM t ORDER BY id;
