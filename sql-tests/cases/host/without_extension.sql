-- A writer without the extension fails loudly; a reader sees plain tables.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
CREATE TABLE local(v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
--> open plain a.db bare
SELECT * FROM t;
INSERT INTO t VALUES ('b', 2);
UPDATE t SET v = 3;
DELETE FROM t;
INSERT INTO local VALUES ('tables that are not replicated are writable');
SELECT * FROM t;
PRAGMA integrity_check;
