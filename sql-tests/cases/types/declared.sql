--# portable
-- Where the declaration cannot say a column's type (STRICT tables, schemas of an ORM), nuda_column does.
CREATE TABLE s(id TEXT PRIMARY KEY, tags TEXT, top INTEGER, title TEXT, n INTEGER) STRICT;
SELECT nuda_column('s', 'tags', 'orset'), nuda_column('s', 'top', 'MAXREG'), nuda_column('s', 'title', 'MVREG');
SELECT nuda_column('s', 'n', 'MVREG');
SELECT nuda_track('s');
SELECT nuda_column('s', 'n', 'COUNTER');
SELECT nuda_track('s');
SELECT columns FROM nuda_tables;
INSERT INTO s VALUES ('x', '["b","a"]', 1, 't', 0);
--> replica b of a
UPDATE s SET tags = '["b"]', top = 3, title = 'B', n = n + 1;
--> on a
UPDATE s SET tags = '["a","b","c"]', top = 2, title = 'A', n = n + 1;
--> sync
SELECT * FROM s;
SELECT nuda_column('s', 'n', 'LWW');
SELECT nuda_column('s', 'no', 'LWW');
SELECT nuda_column('s', 'n', 'SET');
-- A column added later.
BEGIN;
ALTER TABLE s ADD COLUMN extra TEXT;
SELECT nuda_column('s', 'extra', 'ORSET');
COMMIT;
INSERT INTO s VALUES ('y', NULL, 0, '', 0, '["q","p"]');
SELECT columns FROM nuda_tables;
--> sync
--> on b
SELECT extra FROM s WHERE id = 'y';
-- A bare type has NUMERIC affinity.
--> on a
CREATE TABLE bare(id TEXT PRIMARY KEY, a LWW, b MVREG, c MAXREG, d MINREG INTEGER, e ORSET);
SELECT nuda_track('bare');
-- What merging may join cannot be checked.
CREATE TABLE checked(id TEXT PRIMARY KEY, a MAXREG INTEGER CHECK (a > 0), tags ORSET CHECK (json_array_length(tags) < 3));
SELECT nuda_track('checked');
-- Columns added and written in one transaction, before their triggers are there.
ALTER TABLE s ADD COLUMN hits INTEGER NOT NULL DEFAULT 5;
SELECT nuda_column('s', 'hits', 'COUNTER');
BEGIN;
ALTER TABLE s ADD COLUMN more TEXT DEFAULT '["x"]';
SELECT nuda_column('s', 'more', 'ORSET');
UPDATE s SET hits = hits + 2, more = '["z", "y", "x"]' WHERE id = 'x';
COMMIT;
--> sync
--> on b
SELECT id, hits, more FROM s ORDER BY id;
--> on a
ALTER TABLE s ADD COLUMN bad TEXT DEFAULT '["b", "a"]';
SELECT nuda_column('s', 'bad', 'ORSET');
UPDATE s SET top = 9;
