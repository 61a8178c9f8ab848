--# portable
-- What a change of tables takes along, leaves behind and refuses: each check of it, one by one.
CREATE TABLE mine(id TEXT PRIMARY KEY, v);
CREATE TABLE t(id TEXT PRIMARY KEY, a, b, n COUNTER, body TEXT);
SELECT nuda_column('t', 'body', 'TEXTDOC');
SELECT nuda_track('t');
INSERT INTO t VALUES ('1', 'a', 'b', 9223372036854775800, 'text');
--> replica b of a
--> on a
UPDATE t SET n = n + 7;
--> on b
UPDATE t SET n = n + 7;
--> sync
SELECT n, (SELECT count(*) FROM nuda_excess) FROM t;
-- What was kept beside the cells of a dropped column goes with it, here and there.
--> on a
SELECT n, (SELECT count(*) FROM nuda_excess) FROM t;
SELECT nuda_exec('ALTER TABLE t DROP COLUMN n');
SELECT count(*) FROM nuda_excess;
--> sync
--> on b
SELECT count(*) FROM nuda_excess;
-- The later column of a name that was dropped is the one that is meant.
--> on a
SELECT nuda_exec('ALTER TABLE t DROP COLUMN b');
SELECT nuda_exec('ALTER TABLE t ADD COLUMN b TEXT DEFAULT ''new''; ALTER TABLE t RENAME COLUMN b TO c');
SELECT nuda_exec('ALTER TABLE t DROP COLUMN c');
-- What nuda_column said goes along with the name, on other nodes too, and not to another table of that name.
SELECT nuda_exec('ALTER TABLE t RENAME COLUMN body TO words');
--> sync
--> on b
SELECT name, type FROM nuda_column WHERE number = 0;
UPDATE t SET words = words || ' from b';
--> on a
UPDATE t SET words = 'a ' || words;
CREATE TABLE s(id TEXT PRIMARY KEY, doc TEXT);
SELECT nuda_column('s', 'doc', 'DOC');
SELECT nuda_track('s');
SELECT nuda_exec('DROP TABLE s');
CREATE TABLE s(id TEXT PRIMARY KEY, doc TEXT);
SELECT nuda_track('s');
INSERT INTO s VALUES ('1', 'no document');
--> sync
--> on b
SELECT words, doc FROM t, s;
-- Constraints that would not hold on all nodes together, and a table that plain SQL has broken.
--> on a
SELECT nuda_exec('ALTER TABLE t ADD COLUMN w INT CHECK (w <> a)');
ALTER TABLE t RENAME COLUMN a TO aa;
SELECT nuda_exec('ALTER TABLE t ADD COLUMN z');
ALTER TABLE t RENAME COLUMN aa TO a;
SELECT name, version, columns FROM nuda_tables;
-- Where a change cannot be made it waits, and says for what.
SELECT nuda_exec('ALTER TABLE t ADD COLUMN g AS (words || ''!'')');
SELECT nuda_exec('ALTER TABLE t ADD COLUMN h TEXT');
--> on b
ALTER TABLE t RENAME COLUMN words TO mine;
--> ship a b
SELECT reason FROM nuda_waiting;
ALTER TABLE t RENAME COLUMN mine TO words;
--> ship a b
SELECT a, words, g, h FROM t;
CREATE VIEW seen AS SELECT h FROM t;
--> on a
SELECT nuda_exec('ALTER TABLE t DROP COLUMN h');
--> ship a b
--> on b
SELECT reason FROM nuda_waiting;
DROP VIEW seen;
--> ship a b
SELECT count(*) FROM nuda_waiting;
-- A column that is there already is the one that comes if it is declared alike: type, NOT NULL, DEFAULT, COLLATE.
ALTER TABLE t ADD COLUMN k1 INT;
--> on a
ALTER TABLE t ADD COLUMN k1 TEXT;
SELECT nuda_propose();
--> ship a b
--> on b
SELECT reason FROM nuda_waiting;
ALTER TABLE t DROP COLUMN k1;
ALTER TABLE t ADD COLUMN k1 text;
--> ship a b
ALTER TABLE t ADD COLUMN k2 INT DEFAULT 1;
--> on a
ALTER TABLE t ADD COLUMN k2 INT NOT NULL DEFAULT 1;
SELECT nuda_propose();
--> ship a b
--> on b
ALTER TABLE t DROP COLUMN k2;
ALTER TABLE t ADD COLUMN k2 INT NOT NULL DEFAULT 2;
--> ship a b
ALTER TABLE t DROP COLUMN k2;
--> ship a b
ALTER TABLE t ADD COLUMN k3 TEXT;
--> on a
ALTER TABLE t ADD COLUMN k3 TEXT COLLATE NOCASE;
SELECT nuda_propose();
--> ship a b
--> on b
ALTER TABLE t DROP COLUMN k3;
--> ship a b
SELECT a, k1, k2, k3 FROM t;
-- The DEFAULT of an added column has to be what every replica shows, in its one form.
--> on a
ALTER TABLE t ADD COLUMN tags ORSET DEFAULT '[2,1]';
UPDATE t SET a = 'not captured';
SELECT problems FROM nuda_status;
ALTER TABLE t DROP COLUMN tags;
ALTER TABLE t ADD COLUMN tags ORSET DEFAULT '{}';
SELECT nuda_propose();
UPDATE t SET a = 'not captured';
ALTER TABLE t DROP COLUMN tags;
SELECT nuda_exec('ALTER TABLE t ADD COLUMN tags ORSET DEFAULT ''[1, 2]''');
SELECT nuda_exec('ALTER TABLE t ADD COLUMN tags ORSET DEFAULT ''[1,2]''');
UPDATE t SET a = 'captured', tags = '[2,3]';
--> sync
--> on b
SELECT a, tags FROM t;
UPDATE t SET tags = '[2,3,4]';
-- The first table that may hide rows can come from elsewhere.
--> on a
CREATE TABLE u(id TEXT PRIMARY KEY, mail TEXT UNIQUE, gone TEXT);
SELECT nuda_track('u', 'eventual', 'unique=keep_first');
--> sync
INSERT INTO u VALUES ('a', 'm', 'ga');
--> later
--> on b
INSERT INTO u VALUES ('b', 'm', 'gb');
--> sync
SELECT id FROM u;
-- What is told of a hidden row has the columns that are there.
--> on a
SELECT nuda_exec('ALTER TABLE u DROP COLUMN gone; ALTER TABLE u ADD COLUMN fresh DEFAULT 5');
--> sync
--> on b
SELECT id, h."key", h.row FROM u, nuda_hidden_rows h;
-- A row of before that has no place here has nothing in a dropped column, also where a later one has its name.
--> on a
INSERT INTO u(id, mail) VALUES ('a2', 'm2');
SELECT nuda_exec('ALTER TABLE u ADD COLUMN x DEFAULT 1; ALTER TABLE u DROP COLUMN x; ALTER TABLE u ADD COLUMN x DEFAULT 2');
--> later
--> on b
INSERT INTO u(id, mail) VALUES ('b2', 'm2');
--> sync
SELECT h.row FROM nuda_hidden_rows h WHERE h."key" = 'b2';
-- A table with rows that lack what they refer to goes whole.
--> on a
PRAGMA foreign_keys = on;
CREATE TABLE parent(id TEXT PRIMARY KEY);
CREATE TABLE child(id TEXT PRIMARY KEY, parent REFERENCES parent(id));
SELECT nuda_track('parent', 'eventual', 'delete_wins'), nuda_track('child', 'eventual', 'foreign_keys');
INSERT INTO parent VALUES ('p');
--> sync
--> on b
INSERT INTO child VALUES ('c', 'p');
--> on a
DELETE FROM parent;
--> sync
SELECT count(*), (SELECT group_concat("key") FROM nuda_hidden_rows WHERE "table" = 'child') FROM child;
SELECT nuda_exec('DROP TABLE child');
SELECT name FROM sqlite_schema WHERE name LIKE 'child%';
SELECT count(*) FROM nuda_hidden;
--> sync
--> on b
SELECT count(*) FROM nuda_hidden;
SELECT name FROM sqlite_schema WHERE name LIKE 'child%';
-- Definitions are left to the log by the founder, and everybody remembers it.
SELECT nuda_hand_over(), ordered FROM nuda_state;
CREATE TABLE of_b(id TEXT PRIMARY KEY);
SELECT nuda_track('of_b');
--> on a
SELECT nuda_hand_over(), nuda_hand_over();
SELECT ordered FROM nuda_state;
--> sync
--> on b
SELECT ordered FROM nuda_state;
