--# portable
-- With delete_wins an edit made at the same time as a delete does not keep the row.
CREATE TABLE t(id TEXT PRIMARY KEY, v TEXT, n COUNTER);
SELECT nuda_track('t', 'eventual', 'delete_wins');
SELECT options FROM nuda_tables;
INSERT INTO t VALUES ('x', 'old', 1), ('y', 'old', 1), ('z', 'old', 1);
--> replica b of a
SELECT options FROM nuda_tables;
DELETE FROM t WHERE id IN ('x', 'y');
--> on a
UPDATE t SET v = 'edited', n = n + 5 WHERE id = 'x';
--> sync
SELECT * FROM t ORDER BY id;
SELECT "key", "column", lost, reason FROM nuda_conflicts ORDER BY "column";
--> on b
SELECT "key", "column", lost, reason FROM nuda_conflicts ORDER BY "column";
-- A row inserted again is a row: its insert saw the delete, an edit that saw neither joins it.
INSERT INTO t VALUES ('x', 'new', 10);
--> sync
DELETE FROM t WHERE id = 'z';
INSERT INTO t VALUES ('z', 'again', 10);
--> on a
UPDATE t SET n = n + 1 WHERE id = 'z';
--> sync
SELECT * FROM t ORDER BY id;
-- The table as it is without the option.
CREATE TABLE u(id TEXT PRIMARY KEY, v TEXT);
SELECT nuda_track('u');
INSERT INTO u VALUES ('x', 'old');
--> sync
DELETE FROM u;
--> on b
UPDATE u SET v = 'edited';
--> sync
SELECT * FROM u;
