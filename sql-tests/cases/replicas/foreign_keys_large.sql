-- So many children that rows are not looked at one by one; and keys that SQLite invents.
PRAGMA foreign_keys = on;
CREATE TABLE list(id INTEGER PRIMARY KEY, name);
CREATE TABLE entry(id INTEGER PRIMARY KEY, list INT REFERENCES list(id) ON DELETE CASCADE, n);
SELECT nuda_track('list', 'eventual', 'delete_wins,site_ranges'), nuda_track('entry', 'eventual', 'site_ranges');
SELECT name, options FROM nuda_tables;
INSERT INTO list(name) VALUES ('short'), ('long');
INSERT INTO entry(list, n) SELECT id, 0 FROM list;
--> replica b of a
--> on a
DELETE FROM list WHERE name = 'long';
SELECT count(*) FROM entry;
--> on b
PRAGMA foreign_keys = on;
WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 21000)
  INSERT INTO entry(list, n) SELECT list.id, n FROM n, list WHERE list.name = CASE n % 3 WHEN 0 THEN 'short' ELSE 'long' END;
INSERT INTO entry(list, n) VALUES (77, 0);
SELECT count(*) FROM entry;
--> sync
SELECT count(*) FROM entry;
SELECT count(*) FROM nuda_hidden;
PRAGMA foreign_key_check;
--> on a
SELECT count(*) FROM entry;
INSERT INTO list SELECT id + 1, 'again' FROM list WHERE name = 'short';
SELECT nuda_settle();
SELECT count(*) FROM nuda_hidden;
--> sync
SELECT count(*) FROM entry;
PRAGMA foreign_key_check;
--> on a
-- A transaction whose first rows are written to the log before it ends keeps their parents all the same.
CREATE TABLE shelf(id TEXT PRIMARY KEY, room TEXT REFERENCES shelf(id));
CREATE TABLE book(id TEXT PRIMARY KEY, shelf TEXT REFERENCES shelf(id) ON DELETE CASCADE, text);
SELECT nuda_track('shelf', 'eventual', 'foreign_keys'), nuda_track('book', 'eventual', 'foreign_keys');
INSERT INTO shelf VALUES ('room', NULL), ('first', 'room'), ('second', 'room');
--> sync
--> on a
PRAGMA foreign_keys = on;
DELETE FROM shelf WHERE id = 'first';
BEGIN;
DELETE FROM shelf WHERE id = 'second';
DELETE FROM shelf WHERE id = 'room';
COMMIT;
--> on b
BEGIN;
INSERT INTO book VALUES ('b1', 'first', zeroblob(1500000));
INSERT INTO book VALUES ('b2', 'second', zeroblob(1500000));
INSERT INTO book VALUES ('b3', NULL, 'x');
COMMIT;
SELECT max(part) > 0 FROM nuda_changes_since('');
--> sync
SELECT * FROM shelf ORDER BY id;
SELECT id, shelf FROM book ORDER BY id;
PRAGMA foreign_key_check;
BEGIN;
PRAGMA defer_foreign_keys = on;
INSERT INTO book VALUES ('b4', 'third', zeroblob(1500000));
INSERT INTO book VALUES ('b5', 'second', zeroblob(1500000));
INSERT INTO shelf VALUES ('third', 'room');
COMMIT;
SELECT count(*) FROM book;
PRAGMA foreign_keys = off;
BEGIN;
INSERT INTO book VALUES ('b6', 'fourth', zeroblob(1500000));
INSERT INTO book VALUES ('b7', 'second', zeroblob(1500000));
COMMIT;
--> sync
SELECT count(*) FROM book;
