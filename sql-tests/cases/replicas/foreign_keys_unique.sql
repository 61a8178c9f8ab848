--# portable
-- References to what unique=keep_first keeps, and from rows that it hides.
PRAGMA foreign_keys = on;
CREATE TABLE person(id TEXT PRIMARY KEY, mail TEXT NOT NULL UNIQUE COLLATE NOCASE);
CREATE TABLE letter(id TEXT PRIMARY KEY, "to" TEXT REFERENCES person(mail) ON UPDATE CASCADE, n INT UNIQUE);
CREATE TABLE stamp(id TEXT PRIMARY KEY, letter INT REFERENCES letter(n));
SELECT nuda_track('person', 'eventual', 'unique=keep_first');
SELECT nuda_track('letter', 'eventual', 'unique=keep_first'), nuda_track('stamp');
SELECT name, options FROM nuda_tables;
--> replica b of a
-- The same mail twice: letters go to whoever has it.
--> on a
INSERT INTO person VALUES ('a', 'X@example.org');
INSERT INTO letter VALUES ('l1', 'x@example.org', 1);
--> later
--> on b
PRAGMA foreign_keys = on;
INSERT INTO person VALUES ('b', 'x@EXAMPLE.org');
INSERT INTO letter VALUES ('l2', 'X@EXAMPLE.ORG', 2), ('l3', NULL, 1);
INSERT INTO stamp VALUES ('s1', 1), ('s2', 2);
--> sync
SELECT * FROM person;
SELECT * FROM letter ORDER BY id;
SELECT * FROM stamp ORDER BY id;
PRAGMA foreign_key_check;
-- The first one moves on: the other has the mail, and what goes to it.
--> on a
UPDATE person SET mail = 'new@example.org' WHERE id = 'a';
SELECT * FROM letter ORDER BY id;
--> sync
SELECT * FROM person ORDER BY id;
SELECT * FROM letter ORDER BY id;
SELECT * FROM stamp ORDER BY id;
PRAGMA foreign_key_check;
-- A letter to a mail that its person gave up where nobody knew of the letter.
--> on a
UPDATE person SET mail = 'third@example.org' WHERE id = 'a';
--> on b
INSERT INTO letter VALUES ('l4', 'new@example.org', 4);
INSERT INTO stamp VALUES ('s4', 4);
--> sync
SELECT * FROM letter ORDER BY id;
SELECT "table", "key", reason FROM nuda_conflicts WHERE "key" IN ('l4', 's4') ORDER BY id;
-- It keeps its number from others while it waits.
--> on a
INSERT INTO letter VALUES ('l5', NULL, 4);
INSERT INTO person VALUES ('c', 'new@example.org');
--> sync
SELECT * FROM letter ORDER BY id;
SELECT * FROM stamp ORDER BY id;
SELECT count(*) FROM nuda_hidden;
PRAGMA foreign_key_check;
