--# portable
-- Only the founder tracks; a table arrives on the others with its definition.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
--> replica b of a
CREATE TABLE mine(id TEXT PRIMARY KEY);
SELECT nuda_track('mine');
--> on a
CREATE TABLE later(id TEXT PRIMARY KEY, n COUNTER, v DEFAULT 'd');
SELECT nuda_track('later');
INSERT INTO later(id, n) VALUES ('x', 1);
--> ship a b
--> on b
SELECT * FROM later;
UPDATE later SET n = n + 1;
INSERT INTO later(id, n) VALUES ('y', 1);
--> sync
--> on a
SELECT * FROM later ORDER BY id;
