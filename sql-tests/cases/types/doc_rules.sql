--# portable
-- What may be said about places of a DOC: counters, and what names the elements of a list.
CREATE TABLE shop(id TEXT PRIMARY KEY, doc TEXT) STRICT;
SELECT nuda_column('shop', 'doc', 'DOC', ' $.stock.* Counter, $.lines KEY id ');
SELECT nuda_track('shop');
SELECT name, type FROM nuda_column WHERE is_key = 0 AND number > 0;
INSERT INTO shop VALUES ('s', '{"stock":{"apple":10},"lines":[{"id":1,"n":1},{"id":2,"n":1},{"id":3,"n":1}]}');
--> replica b of a
SELECT name, type FROM nuda_column WHERE is_key = 0 AND number > 0;
UPDATE shop SET doc = json_set(doc, '$.stock.apple', json_extract(doc, '$.stock.apple') - 3);
UPDATE shop SET doc = json_set(json_remove(doc, '$.lines[0]'), '$.lines[0].n', 7);
--> on a
UPDATE shop SET doc = json_set(doc, '$.stock.apple', json_extract(doc, '$.stock.apple') + 5);
-- Everything about it changes, but it is line 3.
UPDATE shop SET doc = json_set(doc, '$.lines[2]', json('{"id":3,"n":5,"what":"pear"}'));
--> sync
SELECT doc FROM shop;
--> on b
SELECT doc FROM shop;
-- An added column has them as well.
--> on a
BEGIN;
ALTER TABLE shop ADD COLUMN more TEXT;
SELECT nuda_column('shop', 'more', 'DOC', '$."a b".* counter');
COMMIT;
UPDATE shop SET more = '{"a b":{"n":1}}';
--> sync
UPDATE shop SET more = json_set(more, '$."a b".n', 11);
--> on b
UPDATE shop SET more = json_set(more, '$."a b".n', 101);
--> sync
SELECT more FROM shop;
-- Rules are of a DOC, are understood or refused, and stay as they are.
--> on a
CREATE TABLE t(id TEXT PRIMARY KEY, d DOC, n);
SELECT nuda_column('t', 'n', 'COUNTER', '$ counter');
SELECT nuda_column('t', 'd', 'DOC', 'stock counter');
SELECT nuda_column('t', 'd', 'DOC', '$.stock sum');
SELECT nuda_column('t', 'd', 'DOC', '');
SELECT nuda_column('t', 'd');
SELECT nuda_column('shop', 'doc', 'DOC', '$.other counter');
