--# portable
-- An edit that a delete had not seen keeps the row alive, with all its values.
CREATE TABLE t(id TEXT PRIMARY KEY, x, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('both', 'x', 5), ('gone', 'x', 5), ('again', 'x', 5);
--> replica b of a
--> on a
DELETE FROM t;
--> on b
UPDATE t SET n = n + 1 WHERE id = 'both';
--> sync
--> on a
SELECT * FROM t ORDER BY id;
-- Deleted on one side, inserted anew on the other: a new life with its own values.
INSERT INTO t VALUES ('again', 'new life', 1);
--> on b
DELETE FROM t WHERE id = 'both';
--> sync
SELECT * FROM t ORDER BY id;
