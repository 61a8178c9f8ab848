-- What nobody means to write and somebody does: 20 MB, 100,000 elements, all planes of Unicode, edges
-- of 64 bits. Two nodes edit at the same time, and end equal with both edits.
CREATE TABLE t(id TEXT PRIMARY KEY, body TEXTDOC, d DOC, tags ORSET, mv MVREG TEXT, n COUNTER);
SELECT nuda_column('t', 'd', 'DOC', '$.n counter');
SELECT nuda_track('t');
CREATE VIEW planes AS WITH RECURSIVE p(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM p WHERE n < 16)
  SELECT group_concat(char(n * 65536 + 65), '') || char(1, 55295, 57344, 65533, 65535, 1114111, 128104, 8205, 128105) AS text FROM p;
INSERT INTO t(id, d, n) VALUES ('doc', json_object('s', printf('%.*c', 20000000, 'x'), 'k', 0), 0);
INSERT INTO t SELECT 'text', text, json_object(text, json_array(text)), json_array(text), text, 0 FROM planes;
--> replica b of a
-- One path of a document of 20 MB.
UPDATE t SET d = json_set(d, '$.k', 1) WHERE id = 'doc';
--> on a
UPDATE t SET d = json_set(d, '$.m', 2) WHERE id = 'doc';
SELECT max(length(changeset)) < 200 FROM nuda_changes_since((SELECT collected FROM nuda_status)) WHERE seq = (SELECT max(seq) FROM nuda_changes);
--> sync
SELECT length(d), json_extract(d, '$.k', '$.m') FROM t WHERE id = 'doc';
-- A large value in it, on both; what lost is told, its beginning.
UPDATE t SET d = json_set(d, '$.s', printf('%.*c', 1000000, 'y')) WHERE id = 'doc';
--> later
--> on b
UPDATE t SET d = json_set(d, '$.s', printf('%.*c', 1000000, 'ä')) WHERE id = 'doc';
--> sync
SELECT length(json_extract(d, '$.s')), substr(json_extract(d, '$.s'), 1, 2) FROM t WHERE id = 'doc';
SELECT "column", length(lost), substr(lost, 1, 3), length(CAST(kept AS BLOB)), substr(kept, 1, 3), reason FROM nuda_conflicts;
-- A list of 100,000 elements, and one before and behind them.
UPDATE t SET d = (WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 100000) SELECT json_group_array(n) FROM i) WHERE id = 'doc';
--> sync
UPDATE t SET d = '[0,' || substr(d, 2) WHERE id = 'doc';
--> on a
UPDATE t SET d = json_insert(d, '$[#]', 'end') WHERE id = 'doc';
--> sync
SELECT json_array_length(d), json_extract(d, '$[0]', '$[#-1]') FROM t WHERE id = 'doc';
-- Nested 10,000 deep.
UPDATE t SET d = replace(printf('%.10000c', '.'), '.', '{"a":') || '1' || printf('%.10000c', '}') WHERE id = 'doc';
UPDATE t SET tags = printf('%.10000c', '[') || printf('%.10000c', ']') WHERE id = 'doc';
-- Sets of 100,000 elements.
UPDATE t SET tags = (WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 100000) SELECT json_group_array(n) FROM i) WHERE id = 'doc';
--> sync
UPDATE t SET tags = (WITH RECURSIVE i(n) AS (SELECT 50001 UNION ALL SELECT n + 1 FROM i WHERE n < 150000) SELECT json_group_array(n) FROM i) WHERE id = 'doc';
--> on b
UPDATE t SET tags = (SELECT json_group_array(value) FROM (SELECT value FROM json_each(tags) WHERE value > 90000 UNION ALL SELECT -value FROM json_each(tags) WHERE value <= 60000)) WHERE id = 'doc';
--> sync
SELECT json_array_length(tags), json_extract(tags, '$[0]', '$[#-1]') FROM t WHERE id = 'doc';
-- A text of 2 MB.
UPDATE t SET body = printf('%.*c', 2000000, 'x') WHERE id = 'doc';
--> sync
UPDATE t SET body = 'ä' || body WHERE id = 'doc';
--> on a
UPDATE t SET body = body || 'ö' WHERE id = 'doc';
--> sync
SELECT length(body), substr(body, 1, 2), substr(body, -2) FROM t WHERE id = 'doc';
-- Every plane, in every type.
UPDATE t SET body = replace(body, char(131137), ''), d = (SELECT json_set(d, '$.new', text) FROM planes), tags = (SELECT json_insert(tags, '$[#]', text || 'a') FROM planes), mv = mv || 'a' WHERE id = 'text';
--> on b
UPDATE t SET body = char(1114109) || body, d = (SELECT json_set(d, '$.other', text) FROM planes), tags = (SELECT json_array(text, text || 'b') FROM planes), mv = mv || 'b' WHERE id = 'text';
--> sync
SELECT length(body), unicode(body), (SELECT replace(body, char(1114109), '') = replace(text, char(131137), '') FROM planes) FROM t WHERE id = 'text';
SELECT count(*), sum(key = text OR value = text), (SELECT text FROM planes) = json_extract(value, '$[0]') FROM t, json_each(d), planes WHERE t.id = 'text';
SELECT json_array_length(tags), json_array_length(mv), (SELECT sum(value IN (text, text || 'a', text || 'b')) FROM json_each(tags), planes) FROM t WHERE id = 'text';
-- What is no text.
UPDATE t SET body = CAST(x'41ff' AS TEXT);
UPDATE t SET d = CAST(x'5b22ff225d' AS TEXT);
UPDATE t SET tags = CAST(x'5b22eda080225d' AS TEXT);
UPDATE t SET mv = CAST(x'41ff' AS TEXT);
-- Counters at the edges, in a column and in a document.
UPDATE t SET n = 9223372036854775806, d = json_object('n', 9223372036854775806) WHERE id = 'doc';
--> sync
UPDATE t SET n = n - 1, d = json_set(d, '$.n', 9223372036854775805) WHERE id = 'doc';
--> on a
UPDATE t SET n = -9223372036854775807, d = json_set(d, '$.n', -9223372036854775807) WHERE id = 'doc';
--> sync
SELECT n, json_extract(d, '$.n') FROM t WHERE id = 'doc';
UPDATE t SET n = n + 0.5 WHERE id = 'text';
UPDATE t SET n = 9223372036854775808 WHERE id = 'text';
-- A type that one node changes.
--> on b
SELECT nuda_column('t', 'tags', 'LWW');
