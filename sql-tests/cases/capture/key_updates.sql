--# portable
-- A row that changes its key is a delete and an insert; two rows may swap keys.
CREATE TABLE t(id INTEGER PRIMARY KEY, x);
SELECT nuda_track('t');
INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three');
UPDATE t SET id = 30 WHERE id = 3;
SELECT change, "key", columns FROM nuda_changes WHERE seq = 3 ORDER BY change;
BEGIN;
UPDATE t SET id = -1 WHERE id = 1;
UPDATE t SET id = 1 WHERE id = 2;
UPDATE t SET id = 2 WHERE id = -1;
COMMIT;
SELECT change, "key", columns FROM nuda_changes WHERE seq = 4 ORDER BY "key", change;
--> replica b of a
SELECT * FROM t ORDER BY id;
