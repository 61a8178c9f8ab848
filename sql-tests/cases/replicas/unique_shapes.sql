--# portable
-- unique=keep_first: shapes of tables and of conflicts.
CREATE TABLE seat(hall INT, place INT, guest TEXT, day INT, code TEXT COLLATE RTRIM, PRIMARY KEY (hall, place), UNIQUE (guest, day)) WITHOUT ROWID;
CREATE UNIQUE INDEX seat_code ON seat(code);
CREATE TABLE part(id TEXT PRIMARY KEY, v INT);
CREATE UNIQUE INDEX part_v ON part(v) WHERE v > 0;
SELECT nuda_track('part', 'eventual', 'unique=keep_first');
CREATE TABLE expr(id TEXT PRIMARY KEY, v TEXT);
CREATE UNIQUE INDEX expr_v ON expr(lower(v));
SELECT nuda_track('expr', 'eventual', 'unique=keep_first');
CREATE TABLE numbered(id INTEGER PRIMARY KEY, v UNIQUE);
SELECT nuda_track('numbered', 'eventual', 'unique=keep_first,site_ranges');
SELECT nuda_track('seat', 'eventual', 'unique=keep_first,delete_wins');
-- Existing rows and a derived table that a trigger keeps.
CREATE TABLE guests(guest TEXT, day INT);
CREATE TRIGGER seat_in AFTER INSERT ON seat BEGIN INSERT INTO guests VALUES (new.guest, new.day); END;
CREATE TRIGGER seat_out AFTER DELETE ON seat BEGIN DELETE FROM guests WHERE guest = old.guest AND day = old.day; END;
--> replica b of a
--> replica c of a

-- Two constraints that cross: what is hidden keeps nothing from others.
--> on a
INSERT INTO seat VALUES (1, 1, 'ann', 1, 'A');
--> later
--> on b
INSERT INTO seat VALUES (1, 2, 'ann', 1, 'B');
--> later
--> on c
INSERT INTO seat VALUES (1, 3, 'cat', 1, 'B  ');
--> sync
SELECT hall, place, guest, code FROM seat ORDER BY place;
SELECT * FROM guests ORDER BY guest;
--> on a
DELETE FROM seat WHERE place = 1;
--> sync
-- The chain moves up: 2 is back and takes the code from 3.
SELECT hall, place, guest, code FROM seat ORDER BY place;
SELECT * FROM guests ORDER BY guest;
--> on c
SELECT "key", "column", lost, reason FROM nuda_conflicts ORDER BY id;

-- Values that change places in one transaction arrive in any order.
--> on a
UPDATE seat SET code = NULL WHERE place = 2;
--> sync
BEGIN;
UPDATE seat SET code = 'tmp' WHERE place = 3;
UPDATE seat SET code = 'B' WHERE place = 2;
UPDATE seat SET code = 'C' WHERE place = 3;
UPDATE seat SET code = 'tmp' WHERE place = 2;
UPDATE seat SET code = 'B' WHERE place = 3;
UPDATE seat SET code = 'C' WHERE place = 2;
COMMIT;
--> sync
--> on b
SELECT place, code FROM seat ORDER BY place;

-- Concurrent updates into one value: the older row has it.
UPDATE seat SET code = 'same' WHERE place = 3;
--> on c
UPDATE seat SET code = 'same' WHERE place = 2;
--> sync
SELECT place, code FROM seat ORDER BY place;
-- The key of a hidden row, inserted again, is a new life of it.
INSERT INTO seat VALUES (1, 3, 'dan', 2, 'D');
--> sync
--> on a
SELECT place, guest, code FROM seat ORDER BY place;
SELECT count(*) FROM nuda_hidden;

-- Nobody takes what a hidden row is next to have.
--> on b
INSERT INTO seat VALUES (2, 1, 'eve', 1, 'E');
--> later
--> on c
INSERT INTO seat VALUES (2, 2, 'eve', 1, 'F');
--> sync
REPLACE INTO seat VALUES (2, 3, 'eve', 1, 'G');
SELECT place, guest, code FROM seat WHERE hall = 2;
-- It is the holder's own to write.
UPDATE seat SET guest = 'EVE' WHERE hall = 2;
--> sync
SELECT place, guest, code FROM seat WHERE hall = 2 ORDER BY place;

-- What is hidden stays so across collection and a restart.
--> on a
INSERT INTO seat VALUES (3, 1, 'fay', 1, NULL);
--> later
--> on b
INSERT INTO seat VALUES (3, 2, 'fay', 1, NULL);
--> sync
--> on a
SELECT json_extract(nuda_collect(nuda_version_vector()), '$.dropped') > 0;
--> close a
--> open a
DELETE FROM seat WHERE hall = 3;
SELECT nuda_settle();
SELECT place FROM seat WHERE hall = 3;
SELECT nuda_settle();
-- The index goes, and with it the reason to hide.
--> on b
INSERT INTO seat VALUES (4, 1, NULL, 1, 'H');
--> on a
INSERT INTO seat VALUES (4, 2, NULL, 1, 'H');
--> sync
SELECT count(*) FROM seat WHERE hall = 4;
--> on a
DROP INDEX seat_code;
SELECT nuda_propose();
SELECT nuda_settle();
--> sync
SELECT count(*) FROM seat WHERE hall = 4;
--> on b
SELECT count(*) FROM seat WHERE hall = 4;
PRAGMA integrity_check;
