-- 2,000 columns in one table, and 600 tables in one file.
--> wide w 2000
SELECT nuda_track('w');
INSERT INTO w(id, c1, c1999) VALUES ('r', 1, 1999);
UPDATE w SET c1998 = 5;
SELECT change, "key", columns FROM nuda_changes ORDER BY seq DESC LIMIT 1;
--> repeat 600 CREATE TABLE t{n}(id TEXT PRIMARY KEY, v);
BEGIN;
--> repeat 600 SELECT nuda_track('t{n}');
COMMIT;
BEGIN;
--> repeat 600 INSERT INTO t{n} VALUES ('x', {n});
COMMIT;
--> replica b of a
--> on a
UPDATE t599 SET v = -1;
UPDATE w SET c7 = 7;
--> sync
--> on b
SELECT v FROM t599;
SELECT c1, c7, c1998, c1999 FROM w;
SELECT count(*) FROM nuda_tables;
