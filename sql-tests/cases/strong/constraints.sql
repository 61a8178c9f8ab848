-- On strong tables UNIQUE, CHECK over several columns, FOREIGN KEY and numbers that SQLite picks
-- hold; a replica reproduces the rows whatever way they went.
SELECT nuda_init() IS NOT NULL;
PRAGMA wal_checkpoint(TRUNCATE);
--> copy a.db b.db
--> open b
CREATE TABLE seen(what TEXT);
--> on a
CREATE TABLE person(id INTEGER PRIMARY KEY AUTOINCREMENT, mail TEXT UNIQUE COLLATE NOCASE,
  seat INT NOT NULL, room INT NOT NULL, low INT, high INT, CHECK (low < high), UNIQUE (room, seat));
CREATE TABLE post(id INTEGER PRIMARY KEY, author INT NOT NULL REFERENCES person(id) ON DELETE CASCADE,
  parent INT REFERENCES post(id));
CREATE TABLE desk(id TEXT PRIMARY KEY, room INT, free INT);
CREATE UNIQUE INDEX used ON desk(room) WHERE free = 0;
PRAGMA foreign_keys = on;
SELECT nuda_track('post', 'strong');
SELECT nuda_track('person', 'strong'), nuda_track('post', 'strong'), nuda_track('desk', 'strong');
INSERT INTO person(mail, seat, room, low, high) VALUES
  ('a@x', 1, 1, 0, 9), ('b@x', 2, 1, 1, 9), ('c@x', 3, 1, 1, 9), ('d@x', 4, 1, 1, 9);
--> ship a b
-- On the replica a trigger of the user's sees what happens.
--> on b
CREATE TRIGGER watch AFTER DELETE ON person BEGIN INSERT INTO seen VALUES ('out ' || OLD.id); END;
CREATE TRIGGER watch2 AFTER INSERT ON person BEGIN INSERT INTO seen VALUES ('in ' || NEW.id); END;
CREATE TRIGGER watch3 AFTER UPDATE ON person BEGIN INSERT INTO seen VALUES ('new ' || NEW.id); END;
--> on a
INSERT INTO person(mail, seat, room, low, high) VALUES ('A@X', 9, 9, 1, 2);
UPDATE person SET low = 5, high = 4 WHERE id = 1;
INSERT INTO post VALUES (1, 77, NULL);
-- Two exchange a value; four in a ring.
BEGIN;
UPDATE person SET mail = '' WHERE id = 1;
UPDATE person SET mail = 'a@x' WHERE id = 2;
UPDATE person SET mail = 'b@x' WHERE id = 1;
COMMIT;
--> ship a b
--> on b
SELECT what FROM seen;
SELECT id, mail, seat, low FROM person ORDER BY id;
--> on a
BEGIN;
UPDATE person SET seat = seat + 10;
UPDATE person SET seat = 1 + (seat - 10) % 4;
COMMIT;
-- A value goes from a row that is deleted to one that is inserted, and rows follow their parent.
INSERT INTO post(author, parent) VALUES (4, NULL), (3, NULL), (3, 2);
BEGIN;
DELETE FROM person WHERE id = 4;
INSERT INTO person(mail, seat, room, low, high) VALUES ('d@x', 1, 1, 1, 9);
COMMIT;
UPDATE post SET parent = NULL;
-- A REPLACE takes away whoever has the value.
INSERT OR REPLACE INTO person(mail, seat, room, low, high) VALUES ('A@x', 3, 1, 1, 9);
UPDATE OR REPLACE person SET seat = 1 WHERE id = 3;
INSERT OR REPLACE INTO person VALUES (50, 'z@x', 7, 1, 0, 9);
-- A partial unique index: a ring through it travels, a REPLACE that might is refused.
INSERT INTO desk VALUES ('p', 1, 0), ('q', 2, 0), ('r', 1, 1);
BEGIN;
UPDATE desk SET free = 1 WHERE id = 'p';
UPDATE desk SET free = 0 WHERE id = 'r';
COMMIT;
INSERT INTO desk VALUES ('s', 2, 0);
INSERT OR REPLACE INTO desk VALUES ('s', 2, 0);
INSERT OR REPLACE INTO desk VALUES ('q', 3, 0);
SELECT * FROM desk ORDER BY id;
SELECT id, mail, seat, low FROM person ORDER BY id;
SELECT * FROM post ORDER BY id;
--> ship a b
--> on b
SELECT id, mail, seat, low FROM person ORDER BY id;
SELECT * FROM post ORDER BY id;
SELECT * FROM desk ORDER BY id;
-- No number is given twice: not that of a row that went, nor that of one that came and went.
--> on a
INSERT INTO person(mail, seat, room, low, high) VALUES ('e@x', 8, 1, 1, 9);
DELETE FROM person WHERE mail = 'e@x';
BEGIN;
INSERT INTO person(mail, seat, room, low, high) VALUES ('f@x', 8, 1, 1, 9);
DELETE FROM person WHERE mail = 'f@x';
COMMIT;
BEGIN;
UPDATE person SET mail = 'old' WHERE id = 3;
INSERT INTO person(mail, seat, room, low, high) VALUES ('c@x', 8, 1, 1, 9);
DELETE FROM person WHERE mail = 'c@x';
UPDATE person SET mail = 'c@x' WHERE id = 3;
COMMIT;
SELECT * FROM sqlite_sequence;
--> ship a b
--> on b
SELECT * FROM sqlite_sequence;
PRAGMA foreign_key_check;
-- Also where the two rows of an exchange are in different parts of a large changeset.
--> on a
BEGIN;
UPDATE person SET mail = '' WHERE id = 1;
UPDATE person SET mail = 'b@x' WHERE id = 3;
INSERT INTO person(mail, seat, room, low, high) SELECT value || hex(randomblob(900000)), value, 7, 1, 2 FROM generate_series(1, 3);
UPDATE person SET mail = 'c@x' WHERE id = 1;
DELETE FROM person WHERE room = 7;
COMMIT;
SELECT count(*) > 1 FROM nuda_log WHERE header IS NULL;
--> ship a b
--> on b
SELECT id, mail FROM person WHERE id < 4 ORDER BY id;
-- What would not hold everywhere is refused.
--> on a
CREATE TABLE note(id TEXT PRIMARY KEY, post INT REFERENCES post(id));
SELECT nuda_track('note');
CREATE TABLE word(id TEXT PRIMARY KEY);
CREATE TABLE phrase(id TEXT PRIMARY KEY, word REFERENCES word(id));
PRAGMA foreign_keys = off;
SELECT nuda_track('word'), nuda_track('phrase', 'strong');
SELECT nuda_track('phrase');
SELECT nuda_untrack('word'), nuda_track('word', 'strong');
CREATE TABLE lower(id TEXT PRIMARY KEY, v TEXT);
CREATE UNIQUE INDEX lower_v ON lower(lower(v));
SELECT nuda_track('lower', 'strong');
CREATE TABLE first(id TEXT PRIMARY KEY, v UNIQUE ON CONFLICT IGNORE);
SELECT nuda_track('first', 'strong');
CREATE TABLE late(id TEXT PRIMARY KEY, v);
SELECT nuda_track('late', 'strong');
ALTER TABLE late ADD COLUMN w CHECK (w > v);
INSERT INTO late VALUES ('a', 1, 2);
INSERT INTO late VALUES ('b', 2, 1);
SELECT nuda_exec('ALTER TABLE late DROP COLUMN w');
CREATE UNIQUE INDEX late_v ON late(v);
INSERT INTO late VALUES ('c', 1);
DROP INDEX late_v;
INSERT INTO late VALUES ('c', 1);
--> ship a b
