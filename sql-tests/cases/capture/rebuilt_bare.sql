-- A table made anew by a connection without the extension: the next one that commits anything sees it, or the daemon does.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
CREATE TABLE mine(x);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
--> open bare a.db bare
DROP TABLE t;
CREATE TABLE t(id TEXT PRIMARY KEY);
INSERT INTO t VALUES ('unseen');
--> on a
INSERT INTO mine VALUES (2);
INSERT INTO t VALUES ('refused');
--> on bare
INSERT INTO t VALUES ('refused');
--> on a
SELECT nuda_untrack('t'), nuda_track('t');
--> on bare
DROP TABLE t;
CREATE TABLE t(id TEXT PRIMARY KEY);
--> on a
SELECT nuda_altered(), nuda_propose(), nuda_altered();
--> on bare
INSERT INTO t VALUES ('refused');
UPDATE t SET id = 'refused';
SELECT id FROM t;
