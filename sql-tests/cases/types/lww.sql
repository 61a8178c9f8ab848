--# portable
-- Every column is a register unless declared otherwise: the later write wins, per column.
CREATE TABLE doc(id TEXT PRIMARY KEY, title LWW TEXT, body TEXT);
SELECT nuda_track('doc');
INSERT INTO doc VALUES ('d', 'draft', 'text');
--> replica b of a
--> on a
UPDATE doc SET title = 'first title' WHERE id = 'd';
--> later
--> on b
UPDATE doc SET title = 'later title' WHERE id = 'd';
--> on a
UPDATE doc SET body = 'edited here' WHERE id = 'd';
--> sync
--> on a
SELECT * FROM doc;
--> on b
SELECT * FROM doc;
SELECT "table", "key", "column", lost, reason FROM nuda_conflicts;
--> on a
SELECT "table", "key", "column", lost, reason FROM nuda_conflicts;
