--# portable
-- Strong writes of documents in an eventual table: registers inside count by what they knew of the
-- strong ones, everything else merges. a alone writes strongly.
PRAGMA synchronous = FULL;
CREATE TABLE t(id TEXT PRIMARY KEY, d DOC);
SELECT nuda_column('t', 'd', 'DOC', '$.n counter, $.rows key id');
SELECT nuda_track('t');
INSERT INTO t VALUES ('x', '{"k":0,"n":10,"o":{"p":1},"rows":[{"id":1,"v":0}],"list":[1]}');
--> twin b of a
--> twin c of a
--> on a
SELECT nuda_write_consistency('strong');
UPDATE t SET d = json_set(d, '$.k', 'strong', '$.n', 11, '$.rows[0].v', 'strong', '$.list[#]', 2, '$.o', 5);
SELECT json_extract(nuda_last_commit(), '$.level');
--> later
--> on b
UPDATE t SET d = json_set(d, '$.k', 'later', '$.n', 20, '$.rows[0].v', 'later', '$.list[#]', 3, '$.o.q', 2, '$.new', 1);
--> sync
SELECT d FROM t;
SELECT "column", lost, won_site, reason FROM nuda_conflicts ORDER BY "column";
--> on b
SELECT "column", lost, won_site, reason FROM nuda_conflicts ORDER BY "column";
-- Who saw it wins, against whoever did not, whatever the clocks say and wherever they met first: c
-- wrote latest of all. The strong write was of another place of the document.
--> on a
UPDATE t SET d = json_set(d, '$.s', 'strong') WHERE id = 'x';
--> ship a b
--> on b
UPDATE t SET d = json_set(d, '$.k', 'knows it') WHERE id = 'x';
--> later
--> on c
UPDATE t SET d = json_set(d, '$.k', 'does not', '$.c', 1) WHERE id = 'x';
--> ship c a
--> ship b c
--> sync
SELECT json_extract(d, '$.k', '$.c') FROM t;
SELECT lost, reason FROM nuda_conflicts WHERE "column" = 'd -> $.k' AND lost LIKE '%does%';
--> on a
SELECT json_extract(d, '$.k', '$.c') FROM t;
-- What had not seen a strong DELETE is gone, also from a document that begins anew.
DELETE FROM t WHERE id = 'x';
INSERT INTO t VALUES ('x', '{"n":0}');
--> later
--> on b
UPDATE t SET d = json_set(d, '$.n', 100, '$.b', 1);
--> sync
SELECT d FROM t;
-- A strong write may make another kind of document of it.
--> on a
UPDATE t SET d = '[1]';
--> later
--> on c
UPDATE t SET d = json_set(d, '$.late', 1);
--> sync
SELECT d FROM t;
