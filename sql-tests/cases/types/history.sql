--# portable
-- nuda_history: what happened to a row, in words, on every replica alike.
CREATE TABLE note(id TEXT PRIMARY KEY, title LWW TEXT, votes COUNTER, tags ORSET, body TEXTDOC, best MAXREG INTEGER, owner MVREG TEXT);
SELECT nuda_track('note');
INSERT INTO note VALUES ('n', 'draft', 0, '["a"]', 'The sky.', 1, 'ann');
--> replica b of a
--> on a
UPDATE note SET title = 'first', votes = votes + 1, tags = '["a","b"]', best = 5, owner = 'bob' WHERE id = 'n';
--> later
--> on b
UPDATE note SET title = 'later', votes = votes + 10, tags = '[]', body = 'The blue sky.', best = 3, owner = 'cid' WHERE id = 'n';
--> sync
--> on a
SELECT change, "column", wrote, outcome FROM nuda_history('note', 'n');
-- Told from the log, and by the merge's own rules: the other replica says the same.
--> on b
SELECT change, "column", wrote, outcome FROM nuda_history('note', 'n') WHERE change = 'update';
SELECT change, columns, level, author FROM nuda_changes WHERE "key" = 'n';
-- What was replaced knowingly, and a delete that an edit survived.
UPDATE note SET title = 'settled', owner = 'dee' WHERE id = 'n';
--> sync
--> on a
DELETE FROM note WHERE id = 'n';
--> later
--> on b
UPDATE note SET title = 'needed' WHERE id = 'n';
--> sync
SELECT change, "column", wrote, outcome FROM nuda_history('note', 'n') WHERE "column" IN ('title', 'owner') OR change = 'delete';
-- A row that is gone, and begun again.
DELETE FROM note WHERE id = 'n';
SELECT change, outcome FROM nuda_history('note', 'n') WHERE "column" IS NULL OR "column" = 'votes';
INSERT INTO note VALUES ('n', 'again', 0, '[]', '', 0, '');
SELECT change, outcome FROM nuda_history('note', 'n') WHERE "column" IS NULL OR "column" = 'votes';
-- A key of several columns as nuda_changes shows it; a row that nobody wrote; wrong names.
CREATE TABLE part(a INTEGER, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
--> on a
CREATE TABLE part(a INTEGER, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
SELECT nuda_track('part');
INSERT INTO part VALUES (1, 'x'), (2, 'y');
SELECT change, "column", outcome FROM nuda_history('part', '1, x');
SELECT count(*) FROM nuda_history('part', '3, z');
SELECT * FROM nuda_history('nothing', 'n');
SELECT * FROM nuda_history('part');
