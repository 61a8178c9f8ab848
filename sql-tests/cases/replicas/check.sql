--# portable
-- A CHECK of one column holds where it is written and is not asked again where it arrives.
PRAGMA foreign_keys = off;
CREATE TABLE t(id TEXT PRIMARY KEY, n INT CHECK (n >= 0), p REFERENCES missing(id));
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', -1, NULL);
INSERT INTO t VALUES ('a', 1, 'dangling');
--> replica b of a
--> on a
UPDATE t SET n = 2;
--> ship a b
--> on b
PRAGMA foreign_keys = on;
PRAGMA foreign_keys;
--> on a
INSERT INTO t VALUES ('b', 5, 'dangling too');
--> ship a b
--> on b
PRAGMA foreign_keys;
SELECT * FROM t ORDER BY id;
