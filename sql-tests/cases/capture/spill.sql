--# portable
-- A transaction beyond 1 MiB is written to the log in parts, early; savepoints and ROLLBACK take parts back.
CREATE TABLE t(id INTEGER PRIMARY KEY, v, n COUNTER DEFAULT 0);
SELECT nuda_track('t');
--> replica b of a
--> on a
BEGIN;
INSERT INTO t(id, v) WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 20) SELECT n, zeroblob(100000) FROM i;
SELECT changes();
-- A savepoint changes nothing that can be seen.
SAVEPOINT one;
SELECT changes(), last_insert_rowid();
SELECT count(*) FROM nuda_log WHERE hash IS NULL;
UPDATE t SET v = zeroblob(90000), n = n + 1 WHERE id <= 15;
SELECT changes(), count(*) FROM nuda_log WHERE hash IS NULL;
SAVEPOINT two;
DELETE FROM t WHERE id = 3;
SELECT changes(), count(*) FROM nuda_log WHERE hash IS NULL;
INSERT INTO t(id, v) VALUES (3, 'back'), (21, 'gone');
ROLLBACK TO one;
SELECT count(*) FROM nuda_log WHERE hash IS NULL;
UPDATE t SET n = n + 5 WHERE id = 1;
INSERT INTO t(id, v) VALUES (20, 'there'), (22, 'there');
INSERT OR REPLACE INTO t(id, v) VALUES (20, 'replaced');
DELETE FROM t WHERE id BETWEEN 5 AND 9;
RELEASE one;
COMMIT;
SELECT count(*), sum(length(v)), sum(n) FROM t;
--> sync
-- Rolled back, all of its parts are gone, and its number is free.
SELECT count(*) FROM nuda_log;
BEGIN;
UPDATE t SET v = zeroblob(150000);
UPDATE t SET n = n + 1;
SELECT count(*) FROM nuda_log;
ROLLBACK;
SELECT count(*) FROM nuda_log;
-- A statement that fails half way, after a part of it was written.
BEGIN;
INSERT INTO t(id, v) VALUES (100, 'before');
INSERT INTO t(id, v) WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 60) SELECT iif(n = 60, 1, 200 + n), zeroblob(100000) FROM i;
INSERT INTO t(id, v) VALUES (101, 'after');
COMMIT;
SELECT count(*), sum(length(v)), sum(n) FROM t;
--> sync
SELECT seq FROM nuda_changes WHERE "key" = '101';
