--# portable
-- Parts of a large transaction are written from inside its statements: what that meets there.
CREATE TABLE t(id INTEGER PRIMARY KEY, v);
CREATE TABLE s(id INTEGER PRIMARY KEY, v);
SELECT nuda_track('t'), nuda_track('s', 'strong');
SELECT nuda_join('a');
PRAGMA wal_checkpoint(truncate);
--> copy a.db c.db
--> copy a.db d.db
-- A file that takes a new site first, by statements that have savepoints of their own.
--> open c
BEGIN;
INSERT INTO t VALUES (1, zeroblob(2000000));
INSERT INTO t VALUES (2, 'after');
COMMIT;
SELECT seq, "key" FROM nuda_changes WHERE "key" IN ('1', '2');
--> open d
BEGIN;
INSERT INTO t VALUES (3, zeroblob(5000000)), (4, 'after');
COMMIT;
SELECT seq, "key" FROM nuda_changes WHERE "key" IN ('3', '4');
--> on a
-- The disk is full right there: SQLite rolls all of it back, and nothing is left for the next transaction.
PRAGMA max_page_count = 1500;
BEGIN;
INSERT INTO t VALUES (5, 'before');
INSERT INTO t SELECT 6, zeroblob(4500000);
ROLLBACK;
PRAGMA max_page_count = 1000000;
INSERT INTO t VALUES (7, 'next');
SELECT seq, "key" FROM nuda_changes WHERE "key" > '4';
SELECT id FROM t;
-- What cannot be done is said at the commit, since SQLite has no words for what a savepoint meets.
BEGIN;
INSERT INTO t VALUES (8, zeroblob(2000000));
INSERT INTO t VALUES (9, zeroblob(2000000));
INSERT INTO s VALUES (1, zeroblob(2000000));
INSERT INTO s VALUES (2, 'after');
COMMIT;
ROLLBACK;
SELECT count(*) FROM t WHERE id > 7;
