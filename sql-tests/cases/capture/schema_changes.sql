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
