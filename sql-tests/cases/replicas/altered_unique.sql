--# portable
-- Tables that hide rows are changed: hidden rows have the columns that the others have, and a UNIQUE that comes or goes says anew who is shown.
CREATE TABLE p(id TEXT PRIMARY KEY, mail TEXT UNIQUE, nick TEXT, gone TEXT DEFAULT 'g', n COUNTER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX p_nick ON p(nick COLLATE NOCASE);
SELECT nuda_track('p', 'eventual', 'unique=keep_first');
--> replica b of a
--> replica c of a
--> on a
INSERT INTO p VALUES ('a1', 'm1', 'ann', 'ga', 1);
--> later
--> on b
INSERT INTO p VALUES ('b1', 'm1', 'bob', 'gb', 10), ('b2', 'm2', 'ANN', 'gb2', 20);
--> ship b c
--> ship a c
--> on c
SELECT * FROM p;
SELECT count(*) FROM nuda_hidden;

-- Renamed, dropped and added, with hidden rows here, others on the way, and one written under the old shape.
--> on a
SELECT nuda_exec('ALTER TABLE p RENAME COLUMN mail TO address');
SELECT nuda_exec('ALTER TABLE p DROP COLUMN gone; ALTER TABLE p ADD COLUMN fresh INT NOT NULL DEFAULT 5; ALTER TABLE p RENAME TO q');
--> on b
UPDATE p SET n = n + 100, gone = 'never seen again' WHERE id = 'b1';
INSERT INTO p VALUES ('b3', 'm3', 'cy', 'gb3', 30);
--> later
--> on c
INSERT INTO p VALUES ('c3', 'm3', 'dan', 'gc3', 300);
--> sync
SELECT * FROM q ORDER BY id;
--> on a
SELECT * FROM q ORDER BY id;
UPDATE q SET fresh = 6 WHERE id = 'b3';
DELETE FROM q WHERE id = 'a1';
--> sync
SELECT * FROM q ORDER BY id;
--> on c
DELETE FROM q WHERE id = 'b3';
--> sync
SELECT * FROM q ORDER BY id;

-- What a UNIQUE is of cannot be dropped before it, and SQLite adds no UNIQUE column.
--> on a
SELECT nuda_exec('ALTER TABLE q DROP COLUMN nick');
SELECT nuda_exec('ALTER TABLE q DROP COLUMN address');
SELECT nuda_exec('ALTER TABLE q ADD COLUMN u TEXT UNIQUE');
-- A UNIQUE index that goes lets go of whom it hid.
INSERT INTO q(id, nick) VALUES ('a4', 'eve');
--> later
--> on b
INSERT INTO q(id, nick) VALUES ('b4', 'Eve');
--> sync
SELECT id, nick FROM q WHERE id LIKE '_4';
--> on a
SELECT nuda_exec('DROP INDEX p_nick; ALTER TABLE q DROP COLUMN nick');
--> sync
SELECT * FROM q WHERE id LIKE '_4' ORDER BY id;
--> on c
SELECT * FROM q WHERE id LIKE '_4' ORDER BY id;

-- One that comes hides, everywhere the same rows; plain SQL may not make it.
CREATE UNIQUE INDEX q_n ON q(n, id);
INSERT INTO q(id, fresh) VALUES ('c5', 51);
DROP INDEX q_n;
--> on a
SELECT nuda_exec('CREATE UNIQUE INDEX q_fresh ON q(fresh)');
DELETE FROM q WHERE id <> 'a4';
INSERT INTO q(id, fresh) VALUES ('a6', 6), ('a7', 7);
SELECT nuda_exec('CREATE UNIQUE INDEX q_some ON q(fresh) WHERE n > 0');
SELECT nuda_exec('CREATE UNIQUE INDEX q_fresh ON q(fresh)');
--> later
--> on b
INSERT INTO q(id, fresh) VALUES ('b6', 6), ('b8', 8), ('b9', 8), ('b10', 10);
--> later
--> on c
INSERT INTO q(id, fresh) VALUES ('c8', 8), ('c11', 11);
--> ship b c
--> on c
SELECT id, fresh FROM q ORDER BY id;
--> sync
SELECT id, fresh FROM q ORDER BY id;
--> on b
SELECT id, fresh FROM q ORDER BY id;
DELETE FROM q WHERE id = 'b8';
--> sync
SELECT id, fresh FROM q ORDER BY id;
--> on a
SELECT id, fresh FROM q ORDER BY id;
SELECT "key", "column", lost FROM nuda_conflicts ORDER BY id;

-- The table goes, with the rows that nobody sees.
--> on c
SELECT count(*) > 0 FROM nuda_hidden;
--> on a
SELECT nuda_exec('DROP TABLE q');
--> sync
--> on c
SELECT count(*) FROM nuda_hidden;
SELECT name FROM sqlite_schema WHERE name LIKE '%hidden rows%';
