-- A value of 20 MB, and a transaction of 100,000 rows.
CREATE TABLE t(id INTEGER PRIMARY KEY, v);
SELECT nuda_track('t');
--> replica b of a
--> on a
INSERT INTO t VALUES (0, zeroblob(20000000));
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) INSERT INTO t SELECT i, 'value ' || i FROM n;
SELECT DISTINCT seq FROM nuda_changes_since('') ORDER BY seq;
--> sync
--> on b
SELECT count(*), sum(length(v)) FROM t;
