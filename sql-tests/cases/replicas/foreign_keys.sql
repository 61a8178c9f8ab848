--# portable
-- FOREIGN KEYs between eventual tables: whoever writes a row keeps what it refers to.
PRAGMA foreign_keys = on;
CREATE TABLE artist(id TEXT PRIMARY KEY, name TEXT, plays COUNTER);
CREATE TABLE album(id TEXT PRIMARY KEY, artist TEXT NOT NULL REFERENCES artist(id) ON DELETE CASCADE, title);
CREATE TABLE track(album TEXT REFERENCES album ON DELETE CASCADE ON UPDATE CASCADE, n INT, title, PRIMARY KEY(album, n)) WITHOUT ROWID;
CREATE TABLE employee(id TEXT PRIMARY KEY, boss TEXT REFERENCES employee(id), artist TEXT REFERENCES artist ON DELETE SET NULL);
SELECT nuda_track('album');
SELECT nuda_track('artist'), nuda_track('album'), nuda_track('track'), nuda_track('employee');
SELECT name, options FROM nuda_tables;
INSERT INTO artist VALUES ('bach', 'Bach', 1), ('abba', 'Abba', 2), ('cage', 'Cage', 0);
INSERT INTO album VALUES ('gold', 'abba', 'Gold'), ('mass', 'bach', 'h-Moll');
INSERT INTO track VALUES ('gold', 1, 'Dancing Queen');
INSERT INTO employee VALUES ('ann', 'ann', 'cage'), ('bob', 'ann', NULL);
--> replica b of a
--> replica c of a

-- A parent is deleted here, with its children, while a grandchild is inserted there.
--> on a
PRAGMA foreign_keys = on;
DELETE FROM artist WHERE id = 'abba';
SELECT count(*) FROM album;
DELETE FROM artist WHERE id = 'cage';
SELECT * FROM employee;
--> on b
PRAGMA foreign_keys = on;
INSERT INTO track VALUES ('gold', 2, 'Waterloo');
INSERT INTO employee VALUES ('cid', 'bob', 'cage');
--> on c
PRAGMA foreign_keys = on;
UPDATE artist SET plays = plays + 5 WHERE id = 'abba';
--> sync
SELECT * FROM artist ORDER BY id;
SELECT * FROM album ORDER BY id;
SELECT * FROM track ORDER BY album, n;
SELECT * FROM employee ORDER BY id;
PRAGMA foreign_key_check;
SELECT "table", "key", reason FROM nuda_conflicts ORDER BY id;
--> on b
SELECT "table", "key", reason FROM nuda_conflicts ORDER BY id;
-- What keeps a row alive is no change of it.
SELECT "table", change, "key", columns FROM nuda_changes WHERE "table" = 'artist' ORDER BY 1, 2, 3;

-- What everybody has seen is deleted for good.
--> on b
DELETE FROM artist WHERE id = 'abba';
--> sync
SELECT (SELECT count(*) FROM album), (SELECT count(*) FROM track);

-- A key that moves takes its children along; a child inserted meanwhile keeps the old one.
--> on a
UPDATE album SET id = 'mass in b' WHERE id = 'mass';
--> on c
INSERT INTO track VALUES ('mass', 1, 'Kyrie');
--> sync
SELECT * FROM album ORDER BY id;
SELECT * FROM track ORDER BY album, n;
PRAGMA foreign_key_check;

-- A child before its parent in one transaction; a circle; and what SQLite refuses as ever.
--> on b
BEGIN;
PRAGMA defer_foreign_keys = on;
INSERT INTO employee VALUES ('x', 'y', NULL);
INSERT INTO employee VALUES ('y', 'x', NULL);
COMMIT;
INSERT INTO employee VALUES ('z', 'nobody', NULL);
--> sync
SELECT * FROM employee ORDER BY id;
-- Half of the circle goes where nobody knows that the other one is edited.
--> on a
BEGIN;
PRAGMA defer_foreign_keys = on;
DELETE FROM employee WHERE id IN ('x', 'y');
COMMIT;
--> on c
UPDATE employee SET artist = 'bach' WHERE id = 'x';
--> sync
SELECT * FROM employee ORDER BY id;
PRAGMA foreign_key_check;

-- Without enforcement no transaction leaves a child without its parent either.
--> on c
PRAGMA foreign_keys = off;
INSERT INTO track VALUES ('nothing', 1, 'x');
INSERT INTO track VALUES (NULL, 1, 'x');
DELETE FROM artist WHERE id = 'bach';
UPDATE album SET id = 'other' WHERE id = 'mass';
BEGIN;
DELETE FROM employee WHERE id = 'ann';
INSERT INTO employee VALUES ('ann', NULL, NULL);
COMMIT;
SELECT * FROM employee ORDER BY id;
--> sync
PRAGMA foreign_key_check;
