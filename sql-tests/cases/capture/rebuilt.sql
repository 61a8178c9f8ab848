--# portable
-- A table that is dropped and made again has no capture triggers: it takes no write, from whatever connection, until somebody decides.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
CREATE TABLE other(id TEXT PRIMARY KEY);
CREATE TABLE mine(x);
SELECT nuda_track('t'), nuda_track('other');
INSERT INTO t VALUES ('a', 1);
DROP TABLE t;
INSERT INTO mine VALUES (1);
INSERT INTO other VALUES ('fine');
CREATE TABLE t(id TEXT PRIMARY KEY, v, w);
INSERT INTO t VALUES ('unseen', 1, 2);
UPDATE t SET v = 2;
DELETE FROM t;
--> on a
SELECT count(*) FROM t;
SELECT problems FROM nuda_status;
-- Undone by another DROP, made once more, and then given up.
DROP TABLE t;
INSERT INTO other VALUES ('fine again');
CREATE TABLE t(id TEXT PRIMARY KEY, v, w);
INSERT OR REPLACE INTO t VALUES ('unseen', 1, 2);
SELECT nuda_untrack('t');
SELECT name FROM sqlite_schema WHERE name GLOB 'nuda_1_*';
INSERT INTO t VALUES ('local', 1, 2);
SELECT nuda_track('t');
INSERT INTO t VALUES ('seen', 3, 4);
--> replica b of a
--> on a
-- In one transaction, at its commit; the rows that it wrote are there, and no further ones.
BEGIN;
DROP TABLE t;
CREATE TABLE t(id TEXT PRIMARY KEY, v, w);
INSERT INTO t VALUES ('in the same transaction', 1, 2);
COMMIT;
INSERT INTO t VALUES ('unseen', 1, 2);
SELECT id FROM t;
SELECT nuda_untrack('t'), nuda_track('t');
INSERT INTO t VALUES ('seen again', 1, 2);
--> sync
SELECT id FROM t ORDER BY id;
-- A transaction that also writes a tracked table is refused whole.
BEGIN;
INSERT INTO other VALUES ('with it');
DROP TABLE t;
CREATE TABLE t(id TEXT PRIMARY KEY, v, w);
INSERT INTO t VALUES ('with it', 1, 2);
COMMIT;
ROLLBACK;
SAVEPOINT s;
SAVEPOINT inner;
INSERT INTO other VALUES ('taken back');
ROLLBACK TO inner;
DROP TABLE t;
CREATE TABLE t(id TEXT PRIMARY KEY, v, w);
RELEASE s;
INSERT INTO t VALUES ('unseen', 1, 2);
SELECT nuda_untrack('t'), nuda_track('t');
--> on b
-- Where another node defines tables, that is said.
DROP TABLE other;
CREATE TABLE other(id TEXT PRIMARY KEY);
INSERT INTO other VALUES ('unseen');
-- A table of this file only is nobody's business.
DROP TABLE mine;
CREATE TABLE mine(y);
INSERT INTO mine VALUES (1);
--> on a
SELECT nuda_eject() LIKE 'no trace%';
INSERT INTO t VALUES ('free');
SELECT name FROM sqlite_schema WHERE type = 'trigger';
