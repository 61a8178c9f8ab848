--# portable
-- A parent deleted here while a child is inserted there: both are applied, nobody stops.
CREATE TABLE parent(id TEXT PRIMARY KEY);
CREATE TABLE child(id TEXT PRIMARY KEY, p REFERENCES parent(id));
PRAGMA foreign_keys = off;
SELECT nuda_track('parent'), nuda_track('child');
INSERT INTO parent VALUES ('p');
--> replica b of a
--> on a
DELETE FROM parent;
--> on b
INSERT INTO child VALUES ('c', 'p');
--> sync
SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child);
