--# portable
-- A table tracked again is a new one, with the founding node's rows, on every member.
CREATE TABLE t(id TEXT PRIMARY KEY, v, n COUNTER);
CREATE TABLE other(id TEXT PRIMARY KEY);
SELECT nuda_track('t'), nuda_track('other');
INSERT INTO t VALUES ('1', 'one', 1), ('2', 'two', 2), ('3', 'three', 3);
--> replica b of a
--> replica c of a
-- Meanwhile b writes to the first one, and does not know yet.
--> on b
UPDATE t SET v = 'b', n = n + 1 WHERE id = '1';
INSERT INTO t VALUES ('b', 'only b', 1);
INSERT INTO other VALUES ('b');
--> on a
SELECT nuda_untrack('t');
UPDATE t SET v = 'TWO' WHERE id = '2';
DELETE FROM t WHERE id = '3';
SELECT nuda_track('t');
UPDATE t SET n = n + 10;
-- c has b's writes before it learns of the new table; b learns of it first.
--> ship b c
--> ship a c
--> ship a b
--> sync
--> on a
SELECT * FROM t ORDER BY id;
SELECT * FROM other;
SELECT name FROM sqlite_schema WHERE name LIKE 't before%';
--> on b
SELECT * FROM t ORDER BY id;
SELECT * FROM "t before table 3" ORDER BY id;
--> on c
SELECT * FROM "t before table 3" ORDER BY id;
-- The new table works everywhere.
UPDATE t SET n = n + 1;
--> on b
UPDATE t SET n = n + 1, v = 'again' WHERE id = '1';
DELETE FROM t WHERE id = '2';
--> sync
SELECT * FROM t ORDER BY id;
-- A migration that ALTER TABLE cannot make. What arrived alike leaves nothing behind.
--> on a
SELECT nuda_untrack('t');
BEGIN;
CREATE TABLE t_new(id TEXT PRIMARY KEY, n COUNTER, added TEXT DEFAULT 'x');
CREATE INDEX t_added ON t_new(added);
INSERT INTO t_new(id, n) SELECT id, n FROM t;
DROP TABLE t;
ALTER TABLE t_new RENAME TO t;
COMMIT;
SELECT nuda_track('t');
--> on c
INSERT INTO t VALUES ('c', 'late', 7);
--> sync
SELECT * FROM t ORDER BY id;
SELECT name FROM sqlite_schema WHERE name LIKE 't before%' OR name = 't_added' ORDER BY 1;
SELECT * FROM "t before table 4";
--> on b
SELECT name FROM sqlite_schema WHERE name LIKE 't before%' OR name = 't_added' ORDER BY 1;
-- A member's own table of that name, never replicated, is not touched: the other waits.
CREATE TABLE mine(id TEXT PRIMARY KEY);
INSERT INTO mine VALUES ('b');
--> on a
CREATE TABLE mine(id TEXT PRIMARY KEY);
SELECT nuda_track('mine');
--> ship a b
