--# portable
-- Plain destructive DDL on a tracked table: capture refuses what it can no longer describe.
CREATE TABLE t(id TEXT PRIMARY KEY, x, y);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1, 2);
ALTER TABLE t RENAME COLUMN x TO z;
UPDATE t SET z = 5;
ALTER TABLE t DROP COLUMN y;
UPDATE t SET z = 6;
ALTER TABLE t RENAME TO t2;
UPDATE t2 SET z = 7;
SELECT problems FROM nuda_status;
ALTER TABLE t2 RENAME TO t;
ALTER TABLE t RENAME COLUMN z TO x;
UPDATE t SET x = 5;
SELECT problems IS NULL FROM nuda_status;
-- Within a transaction too.
BEGIN;
UPDATE t SET x = 6;
ALTER TABLE t RENAME COLUMN x TO z;
UPDATE t SET z = 7;
COMMIT;
SELECT * FROM t;
-- A rebuild by renaming is stopped where the new table would take the old one's place.
BEGIN;
CREATE TABLE t_new(id TEXT PRIMARY KEY, x, y UNIQUE);
INSERT INTO t_new SELECT * FROM t;
DROP TABLE t;
ALTER TABLE t_new RENAME TO t;
ROLLBACK;
UPDATE t SET y = 8;
-- Any other rebuild is noticed at the next write to a tracked table, by whatever connection.
CREATE TABLE other(id TEXT PRIMARY KEY);
SELECT nuda_track('other');
CREATE TABLE kept AS SELECT * FROM t;
DROP TABLE t;
SELECT problems FROM nuda_status;
INSERT INTO other VALUES ('fine');
CREATE TABLE t(id TEXT PRIMARY KEY, x, y, z);
INSERT INTO t SELECT *, 'unseen' FROM kept;
INSERT INTO other VALUES ('refused');
--> open b a.db
INSERT INTO other VALUES ('refused');
BEGIN;
INSERT INTO other VALUES ('refused');
COMMIT;
SELECT problems FROM nuda_status;
SELECT nuda_untrack('t');
INSERT INTO t SELECT *, 'while untracked' FROM kept;
SELECT nuda_track('t');
INSERT INTO other VALUES ('fine again');
SELECT problems IS NULL FROM nuda_status;
--> replica c of a
--> close b
--> sync
SELECT * FROM t;
-- What cannot be replicated of a change stops the writes of that table only.
--> on c
ALTER TABLE other ADD COLUMN mine;
SELECT problems FROM nuda_status;
ALTER TABLE other DROP COLUMN mine;
--> on a
ALTER TABLE t ADD COLUMN w INT CHECK (w <> x);
INSERT INTO other VALUES ('not concerned');
UPDATE t SET w = 1;
SELECT nuda_propose();
SELECT problems FROM nuda_status;
ALTER TABLE t DROP COLUMN w;
UPDATE t SET y = 1;
--> sync
