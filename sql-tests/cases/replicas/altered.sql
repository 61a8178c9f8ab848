--# portable
-- nuda_exec changes replicated tables: what others wrote under the older definition arrives by column, whatever its name is now.
CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT, b TEXT DEFAULT 'b', n COUNTER, s ORSET, CHECK (a <> 'never'));
CREATE INDEX t_b ON t(b);
CREATE INDEX t_a ON t(a, n);
SELECT nuda_track('t');
INSERT INTO t VALUES ('1', 'a1', 'b1', 1, '["x"]'), ('2', 'a2', 'b2', 2, '[]'), ('3', 'a3', 'b3', 3, NULL);
--> replica b of a
--> on b
UPDATE t SET a = 'a from b', b = 'b from b', n = n + 10, s = '["x","y"]' WHERE id = '1';
UPDATE t SET b = 'only b' WHERE id = '2';
INSERT INTO t VALUES ('4', 'a4', 'b4', 4, '["z"]');
--> on a
UPDATE t SET n = n + 100 WHERE id = '1';
DELETE FROM t WHERE id = '2';
SELECT nuda_exec('ALTER TABLE t RENAME COLUMN a TO "the a"');
SELECT nuda_exec('DROP INDEX t_b; ALTER TABLE t DROP COLUMN b; ALTER TABLE t ADD COLUMN d INT NOT NULL DEFAULT 5');
SELECT nuda_exec('ALTER TABLE t RENAME TO tt');
SELECT nuda_exec('CREATE INDEX tt_d ON tt(d)');
INSERT INTO tt VALUES ('5', 'a5', 5, '[]', 50);
UPDATE tt SET "the a" = 'a3 from a', d = 30 WHERE id = '3';
SELECT name, version, columns FROM nuda_tables;
--> sync
SELECT * FROM tt ORDER BY id;
--> on b
SELECT name, version, columns FROM nuda_tables;
SELECT sql FROM sqlite_schema WHERE tbl_name = 'tt' AND type <> 'trigger' AND sql IS NOT NULL AND name NOT LIKE 'nuda%' ORDER BY name;
SELECT * FROM tt ORDER BY id;
UPDATE tt SET "the a" = 'never' WHERE id = '1';
UPDATE tt SET "the a" = 'later', n = n + 1, d = d + 1, s = '[]' WHERE id IN ('1', '4');
INSERT OR REPLACE INTO tt VALUES ('3', 'replaced', 33, '["w"]', 3);
DELETE FROM tt WHERE id = '5';
--> sync
--> on a
SELECT * FROM tt ORDER BY id;
-- A column of the old name is another one.
SELECT nuda_exec('ALTER TABLE tt ADD COLUMN b COUNTER DEFAULT 0');
UPDATE tt SET b = b + 7 WHERE id = '1';
SELECT nuda_exec('ALTER TABLE tt DROP n');
SELECT nuda_exec('DROP INDEX t_a; ALTER TABLE tt DROP n');
--> replica c of a
--> on c
UPDATE tt SET b = b + 1;
INSERT INTO tt VALUES ('6', 'from c', '["c"]', 60, 6);
--> sync
--> on b
SELECT * FROM tt ORDER BY id;
SELECT reason FROM nuda_waiting;
-- A table goes everywhere; what was written to it meanwhile concerns nobody.
INSERT INTO tt VALUES ('7', 'late', '[]', 70, 7);
--> on a
SELECT nuda_exec('DROP TABLE tt');
SELECT name FROM nuda_tables;
--> sync
--> on b
SELECT count(*) FROM sqlite_schema WHERE name = 'tt';
--> on a
CREATE TABLE tt(id TEXT PRIMARY KEY, v);
SELECT nuda_track('tt');
INSERT INTO tt VALUES ('new', 1);
--> sync
--> on b
SELECT * FROM tt;
