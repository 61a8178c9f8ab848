--# portable
-- A column's type changes by untracking: everywhere at once, rows stay, and members take the founder's.
CREATE TABLE t(id TEXT PRIMARY KEY, v TEXT, n INTEGER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('x', '["b", "a"]', 1), ('y', NULL, 2);
--> replica b of a
--> on a
SELECT nuda_untrack('t');
SELECT nuda_column('t', 'v', 'ORSET'), nuda_column('t', 'n', 'COUNTER');
--> sync
UPDATE t SET v = '["c", "b", "a"]' WHERE id = 'x';
SELECT v FROM t WHERE id = 'x';
SELECT nuda_track('t');
SELECT v FROM t WHERE id = 'x';
--> sync
--> on b
SELECT columns FROM nuda_tables WHERE name = 't';
UPDATE t SET v = '["b", "d"]', n = n + 1 WHERE id = 'x';
--> on a
UPDATE t SET v = '["a", "b", "e", "c"]', n = n + 1 WHERE id = 'x';
--> sync
SELECT * FROM t ORDER BY id;
-- A value that the new type cannot hold stops the tracking, with the reason.
SELECT nuda_untrack('t');
UPDATE t SET v = 'no set' WHERE id = 'y';
SELECT nuda_track('t');
UPDATE t SET v = NULL WHERE id = 'y';
SELECT nuda_track('t');
