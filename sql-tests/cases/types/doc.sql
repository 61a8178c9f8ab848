--# portable
-- DOC: a JSON document; what an UPDATE did is read off the old and the new one, and merged per key and element.
CREATE TABLE note(id TEXT PRIMARY KEY, meta DOC, title TEXT);
SELECT nuda_track('note');
INSERT INTO note VALUES ('n', '{"title": "x", "size": {"w": 1}, "tags": []}', ''), ('none', NULL, ''), ('list', '[1, 2, 3]', '');
SELECT meta FROM note ORDER BY id;
--> replica b of a
--> replica c of a
--> on a
UPDATE note SET meta = json_set(meta, '$.size.w', 10) WHERE id = 'n';
UPDATE note SET meta = json_insert(meta, '$[#]', 4) WHERE id = 'list';
--> on b
UPDATE note SET meta = json_set(meta, '$.size.h', 20) WHERE id = 'n';
UPDATE note SET meta = json_set(meta, '$[1]', 'two') WHERE id = 'list';
--> on c
UPDATE note SET meta = json_patch(meta, '{"title":null,"lang":"en"}') WHERE id = 'n';
UPDATE note SET meta = json_remove(meta, '$[0]') WHERE id = 'list';
--> sync
SELECT id, meta FROM note ORDER BY id;
SELECT typeof(meta) FROM note ORDER BY id;
SELECT nuda_digest() IS NOT NULL;
-- The same missing object is one object; both appends survive; edits of different elements survive.
--> on a
UPDATE note SET meta = json_set(meta, '$.owner', json('{"name":"Ann"}'), '$.tags[#]', 'red') WHERE id = 'n';
--> on b
UPDATE note SET meta = json_set(meta, '$.owner', json('{"mail":"a@x"}'), '$.tags[#]', 'blue') WHERE id = 'n';
--> sync
SELECT json_extract(meta, '$.owner'), json_array_length(meta, '$.tags') FROM note WHERE id = 'n';
-- A whole document written by an application that sorts and spaces as it likes: only the difference travels.
--> on a
UPDATE note SET meta = '{ "tags" : ["red"], "owner": {"mail": "a@x", "name": "Ann"}, "lang": "de", "size": {"h":20,"w":10} }' WHERE id = 'n';
--> on b
UPDATE note SET meta = json_set(meta, '$.size.h', 21) WHERE id = 'n';
--> sync
SELECT meta FROM note WHERE id = 'n';
-- The same content in another spelling is no edit.
--> on a
UPDATE note SET meta = ' {"owner":{"name":"Ann","mail":"a@x"},"lang":"de","size":{"h":21,"w":10},"tags":["red"]}' WHERE id = 'n';
SELECT count(*) FROM nuda_log l JOIN nuda_state s ON l.id >> 48 = s.site WHERE l.id >> 14 & 0x3ffffffff > 6;
SELECT meta FROM note WHERE id = 'n';
-- Registers that lost are reported with the path.
UPDATE note SET meta = json_set(meta, '$.size.w', 11) WHERE id = 'n';
--> later
--> on b
UPDATE note SET meta = json_set(meta, '$.size.w', 12) WHERE id = 'n';
--> sync
--> on a
SELECT json_extract(meta, '$.size.w') FROM note WHERE id = 'n';
SELECT "table", "key", "column", lost, reason FROM nuda_conflicts WHERE "column" LIKE 'meta%';
-- Several edits in one transaction are one.
BEGIN;
UPDATE note SET meta = json_set(meta, '$.a', 1) WHERE id = 'n';
SAVEPOINT s;
UPDATE note SET meta = '{}' WHERE id = 'n';
ROLLBACK TO s;
UPDATE note SET meta = json_set(meta, '$."a b"', 2) WHERE id = 'n';
DELETE FROM note WHERE id = 'list';
INSERT INTO note VALUES ('list', '[4, "two", 3]', 'replaced');
COMMIT;
--> on b
BEGIN;
UPDATE note SET meta = json_set(meta, '$.b', json('[]')) WHERE id = 'n';
UPDATE note SET meta = json_set(meta, '$.b[#]', 1) WHERE id = 'n';
COMMIT;
--> sync
SELECT id, meta FROM note WHERE id <> 'none' ORDER BY id;
-- NULL is no document: it stays only if nobody left one.
--> on a
UPDATE note SET meta = NULL WHERE id = 'n';
UPDATE note SET meta = '{"x":1}' WHERE id = 'none';
--> on b
UPDATE note SET meta = json_set(meta, '$.late', 1) WHERE id = 'n';
UPDATE note SET meta = '{"y":1}' WHERE id = 'none';
--> sync
SELECT id, meta FROM note WHERE id <> 'list' ORDER BY id;
UPDATE note SET meta = NULL;
--> sync
--> on c
SELECT count(*) FROM note WHERE meta IS NULL;
-- A row deleted by one and edited by another is alive with both edits; a re-inserted one begins anew, and
-- keeps what was written into it meanwhile.
UPDATE note SET meta = '{"k":1}' WHERE id = 'n';
--> sync
--> on a
UPDATE note SET meta = json_set(meta, '$.a', 1) WHERE id = 'n';
DELETE FROM note WHERE id = 'n';
--> on b
UPDATE note SET meta = json_set(meta, '$.b', 2) WHERE id = 'n';
--> sync
SELECT meta FROM note WHERE id = 'n';
--> on a
DELETE FROM note WHERE id = 'n';
INSERT INTO note VALUES ('n', '{"new":1}', '');
--> on b
UPDATE note SET meta = json_set(meta, '$.b', 3) WHERE id = 'n';
--> sync
SELECT meta FROM note WHERE id = 'n';
-- Two inserts of one key are one document.
--> on a
INSERT INTO note VALUES ('two', '{"a":{"x":1},"l":[1]}', '');
--> on b
INSERT INTO note VALUES ('two', '{"a":{"y":1},"l":[2]}', '');
--> sync
SELECT json_extract(meta, '$.a'), json_array_length(meta, '$.l') FROM note WHERE id = 'two';
SELECT nuda_digest() IS NOT NULL;
