--# portable
-- STRICT tables know only SQLite's types; nuda_column says the rest.
CREATE TABLE s(id TEXT PRIMARY KEY, hits INTEGER NOT NULL DEFAULT 0, name TEXT) STRICT;
SELECT nuda_column('s', 'hits', 'COUNTER');
SELECT nuda_track('s');
SELECT name, kind, columns FROM nuda_tables;
-- Too late now, and what is wrong is named.
SELECT nuda_column('s', 'name', 'LWW');
CREATE TABLE s2(id TEXT PRIMARY KEY, n INTEGER) STRICT;
SELECT nuda_column('s2', 'nothing', 'COUNTER');
SELECT nuda_column('s2', 'n', 'ORSET');
SELECT nuda_column('s2', 'n', 'NONSENSE');
INSERT INTO s VALUES ('x', 1, 'n');
--> replica b of a
UPDATE s SET hits = hits + 10;
--> on a
UPDATE s SET hits = hits + 100;
--> sync
SELECT * FROM s;
