--# portable
-- What fails for a lock or a full disk is not remembered as seen: the same again succeeds.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
--> replica b of a
--> on a
INSERT INTO t VALUES ('big', zeroblob(300000));
--> on b
PRAGMA max_page_count = 40;
--> ship a b
SELECT count(*) FROM t;
PRAGMA max_page_count = 100000;
--> ship a b
SELECT count(*), sum(length(v)) FROM t;
--> on a
INSERT INTO t VALUES ('small', 1);
--> open lock b.db
BEGIN IMMEDIATE;
--> on b
PRAGMA busy_timeout = 0;
--> ship a b
--> on lock
ROLLBACK;
--> close lock
--> ship a b
--> sync
