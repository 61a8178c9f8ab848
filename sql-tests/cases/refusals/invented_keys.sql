--# portable
-- Two nodes would invent the same INTEGER PRIMARY KEY, so the application has to say it.
CREATE TABLE t(id INTEGER PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t(v) VALUES ('invented');
INSERT INTO t VALUES (NULL, 'invented');
INSERT OR IGNORE INTO t VALUES (NULL, 'invented');
INSERT OR REPLACE INTO t(v) VALUES ('invented');
INSERT INTO t VALUES (1, 'explicit');
INSERT INTO t VALUES (-1, 'minus one is a key like any other');
SELECT * FROM t ORDER BY id;
-- A TEXT key with a default is the easy way.
CREATE TABLE u(id TEXT PRIMARY KEY DEFAULT (nuda_uuid7()), v);
SELECT nuda_track('u');
INSERT INTO u(v) VALUES ('one'), ('two');
SELECT id, v FROM u ORDER BY v;
SELECT length(nuda_uuid7()), nuda_uuid7() < nuda_uuid7() OR 1, substr(nuda_uuid7(), 15, 1);
-- A row with the key -1 that was there before arrives like any other.
--> replica b of a
--> on a
CREATE TABLE before(id INTEGER PRIMARY KEY, v);
INSERT INTO before VALUES (-1, 'minus one'), (1, 'one');
SELECT nuda_track('before');
--> sync
