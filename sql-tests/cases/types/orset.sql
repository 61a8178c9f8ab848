--# portable
-- ORSET: a JSON array; what was added or removed on several nodes at the same time is joined.
CREATE TABLE item(id TEXT PRIMARY KEY, tags ORSET, note TEXT);
SELECT nuda_track('item');
INSERT INTO item VALUES ('i', '["red","blue"]', ''), ('none', NULL, '');
--> replica b of a
--> replica c of a
--> on a
UPDATE item SET tags = json_insert(tags, '$[#]', 'green') WHERE id = 'i';
--> on b
UPDATE item SET tags = '["blue"]' WHERE id = 'i';
--> on c
UPDATE item SET tags = '["red","blue",1,{"b":1,"a":[]}]' WHERE id = 'i';
UPDATE item SET tags = '["x"]' WHERE id = 'none';
--> sync
--> on a
SELECT * FROM item ORDER BY id;
-- An element removed here and added again there, at the same time, stays.
UPDATE item SET tags = '["blue"]' WHERE id = 'i';
--> on b
UPDATE item SET tags = '[]' WHERE id = 'i';
UPDATE item SET tags = '["green"]' WHERE id = 'i';
--> sync
SELECT tags FROM item WHERE id = 'i';
-- An edit of the set and one of another column both survive a delete that saw neither.
DELETE FROM item WHERE id = 'i';
--> on c
UPDATE item SET tags = '["green","kept"]' WHERE id = 'i';
--> on a
UPDATE item SET note = 'here' WHERE id = 'i';
--> sync
SELECT * FROM item WHERE id = 'i';
-- Two inserts of one key are joined. No set at all is what it is until somebody makes one.
INSERT INTO item VALUES ('new', '["a","b"]', ''), ('empty', NULL, '');
--> on b
INSERT INTO item VALUES ('new', '["b","c"]', ''), ('empty', '[]', '');
--> sync
SELECT id, tags FROM item WHERE id IN ('new', 'empty') ORDER BY id;
UPDATE item SET tags = NULL WHERE id = 'new';
--> sync
--> on c
SELECT id, tags FROM item WHERE tags IS NULL;
SELECT count(*) FROM nuda_conflicts WHERE "column" = 'tags';
