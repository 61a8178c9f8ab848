--# portable
-- A replica that is attached can be read; it is written through its own connection only.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
--> open b
CREATE TABLE t(id TEXT PRIMARY KEY, v);
CREATE TABLE plain(id INTEGER PRIMARY KEY, v);
SELECT nuda_track('t');
ATTACH (SELECT replace(file, 'b.db', 'a.db') FROM pragma_database_list WHERE name = 'main') AS other;
SELECT * FROM other.t;
INSERT INTO other.t VALUES ('b', 2);
UPDATE other.t SET v = 2;
DELETE FROM other.t;
INSERT INTO t SELECT * FROM other.t;
SELECT count(*) FROM nuda_changes;
-- A transaction over both: what is main's is captured, the other is left alone.
BEGIN;
INSERT INTO t VALUES ('c', 3);
INSERT INTO other.t VALUES ('c', 3);
INSERT INTO t VALUES ('d', 4);
COMMIT;
SELECT group_concat(id) FROM t;
SELECT group_concat(id) FROM other.t;
-- A tracked table of the attached file hides behind no name.
DROP TABLE t;
SELECT problems IS NOT NULL FROM nuda_status;
INSERT INTO t VALUES ('e', 5);
SELECT nuda_untrack('t');
SELECT nuda_track('t');
SELECT nuda_track('other.t');
-- A plain file beside a replica.
ATTACH ':memory:' AS memory;
CREATE TABLE memory.m(id INTEGER PRIMARY KEY, v);
INSERT INTO memory.m VALUES (1, 'x');
INSERT INTO plain SELECT * FROM memory.m;
SELECT * FROM plain;
--> on a
INSERT INTO t VALUES ('z', 26);
SELECT seq, change, "key" FROM nuda_changes;
