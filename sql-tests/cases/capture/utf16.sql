--# portable
-- A file whose texts are UTF-16 ships the same as any other.
PRAGMA encoding = 'UTF-16le';
CREATE TABLE t(id TEXT PRIMARY KEY, v TEXT, n COUNTER, tags ORSET, doc DOC TEXT, body TEXTDOC);
SELECT nuda_track('t');
PRAGMA encoding;
INSERT INTO t VALUES ('ä', 'Grüße 😀', 1, '["b","ä"]', '{"b":"ü","a":1}', 'naïve text'), ('', '', 2, '[]', '{}', '');
--> replica b of a
--> on a
UPDATE t SET v = v || ', ' || v, doc = json_set(doc, '$.c', 'é'), body = replace(body, 'text', 'täxt');
INSERT OR REPLACE INTO t VALUES ('', 'ß', 3, '["é"]', '[]', '😀');
UPDATE t SET id = id || '€' WHERE id = 'ä';
--> on b
UPDATE t SET v = upper(v), n = n + 1, tags = json_insert(tags, '$[#]', '😀'), doc = json_set(doc, '$.d', 'x'), body = body || '!' WHERE id <> '';
DELETE FROM t WHERE id = 'nothing';
--> sync
SELECT id, v, n, tags, doc, body FROM t ORDER BY id;
SELECT typeof(id), typeof(v), typeof(doc), length(v), hex(body) FROM t ORDER BY id;
