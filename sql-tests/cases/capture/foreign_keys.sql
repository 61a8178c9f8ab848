--# portable
-- Cascades of foreign keys are changes like any others. Tables are tracked without enforcement.
CREATE TABLE parent(id TEXT PRIMARY KEY, name);
CREATE TABLE child(id TEXT PRIMARY KEY, parent REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE);
SELECT nuda_track('parent');
PRAGMA foreign_keys = off;
SELECT nuda_track('child');
PRAGMA foreign_keys = on;
INSERT INTO parent VALUES ('p', 1), ('q', 2);
INSERT INTO child VALUES ('c1', 'p'), ('c2', 'p'), ('c3', 'q');
UPDATE parent SET id = 'r' WHERE id = 'q';
DELETE FROM parent WHERE id = 'p';
SELECT seq, "table", change, "key", columns FROM nuda_changes WHERE seq > 4 ORDER BY seq, "table", change, "key";
-- A child may be written before its parent in one transaction.
BEGIN;
PRAGMA defer_foreign_keys = on;
INSERT INTO child VALUES ('c9', 'p9');
INSERT INTO parent VALUES ('p9', 9);
COMMIT;
--> replica b of a
--> on a
DELETE FROM parent WHERE id = 'p9';
--> ship a b
--> on b
SELECT * FROM parent ORDER BY id;
SELECT * FROM child ORDER BY id;
-- Altering a table that is replicated already does not ask who enforces what.
--> on a
CREATE INDEX child_parent ON child(parent);
INSERT INTO child VALUES ('c10', 'r');
ALTER TABLE child ADD COLUMN extra DEFAULT 'x';
INSERT INTO child(id, parent) VALUES ('c11', 'r'), ('c12', 'r');
--> sync
