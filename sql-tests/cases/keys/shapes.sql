--# portable
-- AUTOINCREMENT counts on, with one row in sqlite_sequence, and never reuses a key.
CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, v);
SELECT nuda_track('a', 'eventual', 'site_ranges');
INSERT INTO a(v) VALUES ('a1'), ('a2');
SELECT count(*), max(seq) = (SELECT max(id) FROM a) FROM sqlite_sequence;
DELETE FROM a;
INSERT INTO a(v) VALUES ('a3');
SELECT id % 64, v FROM a;
INSERT INTO a VALUES (1000000000, 'far');
DELETE FROM a;
INSERT INTO a(v) VALUES ('a4');
SELECT id > 1000000000, id % 64, v, (SELECT count(*) FROM sqlite_sequence) FROM a;
INSERT INTO a SELECT NULL, v FROM a UNION ALL SELECT NULL, 'a5';
SELECT id - (SELECT min(id) FROM a), v FROM a;
INSERT INTO a DEFAULT VALUES;
SELECT count(*) FROM a;
-- Generated columns, STRICT tables, indexes, WITHOUT ROWID.
CREATE TABLE g(v TEXT NOT NULL, id INTEGER PRIMARY KEY, up TEXT AS (upper(v)) STORED, r ANY) STRICT;
CREATE INDEX g_up ON g(up);
SELECT nuda_track('g', 'eventual', 'site_ranges');
INSERT INTO g(v, r) VALUES ('x', x'00'), ('y', 1.5);
SELECT v, id - (SELECT min(id) FROM g), up, quote(r) FROM g ORDER BY up;
CREATE TABLE w(id INTEGER PRIMARY KEY, v) WITHOUT ROWID;
SELECT nuda_track('w', 'eventual', 'site_ranges');
CREATE TABLE x(id TEXT PRIMARY KEY, v);
SELECT nuda_track('x', 'eventual', 'site_ranges');
-- Triggers of the user would see the row that is put in the way.
CREATE TABLE l(id INTEGER PRIMARY KEY, v);
CREATE TABLE log(v);
CREATE TRIGGER l_insert AFTER INSERT ON l BEGIN INSERT INTO log VALUES (NEW.id); END;
SELECT nuda_track('l', 'eventual', 'site_ranges');
DROP TRIGGER l_insert;
CREATE TRIGGER l_update AFTER UPDATE ON l BEGIN INSERT INTO log VALUES (NEW.id); END;
SELECT nuda_track('l', 'eventual', 'site_ranges');
SELECT nuda_track('l');
CREATE TEMP TRIGGER l_temp BEFORE DELETE ON l BEGIN INSERT INTO log VALUES (OLD.id); END;
INSERT INTO l(v) VALUES (1);
DROP TRIGGER l_temp;
INSERT INTO l(v) VALUES (1);
SELECT count(*), (SELECT count(*) FROM log) FROM l;
-- Enforced foreign keys: the row in the way never takes a child along.
PRAGMA foreign_keys = ON;
CREATE TABLE child(p INTEGER REFERENCES l(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, v);
BEGIN;
INSERT INTO l VALUES (100000000000, 'far');
INSERT INTO child SELECT ((100000000000 / 67108864 + n) * 1048576 + (SELECT min(id) / 64 FROM l)) * 64 - 1, n FROM (SELECT 0 AS n UNION ALL SELECT 1);
INSERT INTO l(v) VALUES ('beside');
SELECT count(*) FROM child;
DELETE FROM child;
COMMIT;
SELECT id > 100000000000 + 67108864, id % 64 FROM l WHERE v = 'beside';
-- The option is for new tables, and travels with them.
CREATE TABLE k(id INTEGER PRIMARY KEY, v);
SELECT nuda_track('k');
SELECT nuda_track('k', 'eventual', 'site_ranges');
--> replica b of a
SELECT name, options FROM nuda_tables ORDER BY number;
--> on a
CREATE TABLE late(id INTEGER PRIMARY KEY, v);
SELECT nuda_track('late', 'eventual', 'site_ranges');
--> sync
--> on b
INSERT INTO late(v) VALUES (1), (2);
SELECT count(*) FROM late;
--> sync
