--# portable
-- A DOC that is renamed keeps its type and its rules; a later column of its old name has nothing of them.
CREATE TABLE shop(id TEXT PRIMARY KEY, doc TEXT, spare TEXT) STRICT;
SELECT nuda_column('shop', 'doc', 'DOC', '$.stock.* counter, $.lines key id');
SELECT nuda_column('shop', 'spare', 'DOC', '$.n counter');
SELECT nuda_track('shop');
INSERT INTO shop VALUES ('s', '{"stock":{"apple":10},"lines":[{"id":1,"n":1},{"id":2,"n":1}]}', '{"n":1}');
--> replica b of a
--> on b
UPDATE shop SET doc = json_set(doc, '$.stock.apple', 7, '$.lines[1].n', 2), spare = '{"n":3}';
--> on a
SELECT nuda_exec('ALTER TABLE shop RENAME COLUMN doc TO body; ALTER TABLE shop RENAME TO store; ALTER TABLE store DROP COLUMN spare');
UPDATE store SET body = json_set(body, '$.stock.apple', 15, '$.lines[0].n', 9);
--> sync
SELECT * FROM store;
--> on b
SELECT * FROM store;
SELECT name, type FROM nuda_column WHERE is_key = 0 AND number > 0;
UPDATE store SET body = json_set(body, '$.stock.apple', 0);
--> on a
SELECT name, type FROM nuda_column WHERE number = 0;
SELECT nuda_exec('ALTER TABLE store ADD COLUMN doc TEXT; ALTER TABLE store ADD COLUMN spare TEXT');
UPDATE store SET body = json_set(body, '$.stock.apple', 10), doc = 'plain', spare = 'plain too';
--> sync
SELECT * FROM store;
SELECT "column", outcome FROM nuda_history('store', 's') WHERE change = 'insert';
-- Untracked and tracked again, it is what it was.
SELECT nuda_untrack('store');
SELECT nuda_track('store');
--> sync
--> on b
SELECT name, type FROM nuda_column WHERE is_key = 0 AND number > 0;
