--# portable
-- Whatever spelling is written, a set is kept sorted, each element once, in one form of JSON.
CREATE TABLE s(id TEXT PRIMARY KEY, tags ORSET, more ORSET);
INSERT INTO s VALUES ('before', '[ "b", "a", "a" ]', NULL);
SELECT nuda_track('s');
SELECT * FROM s;
INSERT INTO s VALUES ('one', '["b", "\u0061", "b", 2, 10, 1, 1.0, {"y":1, "x":2}]', '[]');
INSERT INTO s VALUES ('two', NULL, '[[2, 1], null, true]');
UPDATE s SET more = '[ "z", "y" ]' WHERE id = 'one';
SELECT * FROM s ORDER BY id;
-- Another spelling of the same set is no change.
UPDATE s SET tags = '["a", "b", 1, 1.0, 10, 2, {"x":2,"y":1}]' WHERE id = 'one';
SELECT tags FROM s WHERE id = 'one';
SELECT seq, change, "key", columns FROM nuda_changes;
-- What is no JSON array is refused, with the position, and the statement with it.
UPDATE s SET tags = '["a",]';
UPDATE s SET tags = 'a,b';
UPDATE s SET tags = '{"a":1}';
UPDATE s SET tags = 5;
UPDATE s SET tags = CAST(x'5b22ff225d' AS TEXT);
INSERT OR IGNORE INTO s VALUES ('bad', '[1', NULL);
INSERT INTO s VALUES ('deep', replace(printf('%.*c', 2000, '['), '[', '[') || replace(printf('%.*c', 2000, ']'), ']', ']'), NULL);
SELECT count(*) FROM s;
-- Several statements of one transaction amount to what they leave.
BEGIN;
UPDATE s SET tags = '["x"]' WHERE id = 'two';
UPDATE s SET tags = '["x","y"]' WHERE id = 'two';
UPDATE s SET tags = '["y"]' WHERE id = 'two';
REPLACE INTO s VALUES ('one', '["b","new"]', NULL);
COMMIT;
--> replica b of a
SELECT * FROM s ORDER BY id;
--> on a
UPDATE s SET tags = '["b","later"]' WHERE id = 'one';
--> sync
-- 100,000 elements, and one more.
INSERT INTO s VALUES ('large', (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT json_group_array('element ' || i) FROM n), NULL);
UPDATE s SET tags = json_insert(tags, '$[#]', 'one more') WHERE id = 'large';
--> sync
SELECT json_array_length(tags), length(tags) FROM s WHERE id = 'large';
