--# portable
-- A copied file is another incarnation: it writes under a new site, and both histories meet.
CREATE TABLE t(id TEXT PRIMARY KEY, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('x', 1);
SELECT nuda_join('a');
PRAGMA wal_checkpoint(truncate);
--> copy a.db c.db
UPDATE t SET n = n + 1;
--> open c
UPDATE t SET n = n + 10;
SELECT seq, change, columns FROM nuda_changes WHERE change = 'update';
--> sync
SELECT * FROM t;
