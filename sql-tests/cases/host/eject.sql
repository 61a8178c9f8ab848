--# portable
-- nuda_eject gives back a file with no trace of NUDA.
CREATE TABLE t(id TEXT PRIMARY KEY, n COUNTER);
CREATE INDEX t_n ON t(n);
CREATE TABLE nuda_tale(x);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
UPDATE t SET n = 5;
SELECT nuda_eject();
SELECT type, name FROM sqlite_schema ORDER BY name;
SELECT * FROM t;
INSERT INTO t VALUES ('b', 1);
SELECT nuda_status FROM nuda_status;
SELECT nuda_eject();
PRAGMA integrity_check;
-- And it can begin anew.
SELECT nuda_track('t');
SELECT change, "key" FROM nuda_changes ORDER BY "key";
