-- What was collected decides nothing: the record of a strong write stays as long as one that had not
-- seen it, and a third write finds out that it won.
CREATE TABLE t(id TEXT PRIMARY KEY, title TEXT, body TEXTDOC);
SELECT nuda_track('t');
INSERT INTO t VALUES ('x', 'old', 'old'), ('y', 'old', 'old');
--> twin b of a
--> twin c of a
--> on a
SELECT nuda_write_consistency('strong');
UPDATE t SET title = 'strong' WHERE id = 'x';
DELETE FROM t WHERE id = 'y';
INSERT INTO t VALUES ('y', 'anew', 'anew');
CREATE TEMP TABLE has AS SELECT nuda_version_vector() AS v;
--> ship a c
--> on c
UPDATE t SET title = 'knows it', body = 'knows it' ;
--> later
--> on b
UPDATE t SET title = 'does not', body = 'not ' || body;
--> ship b a
--> ship a b
-- Everybody has what a and the log wrote; b's write has not reached c.
--> on a
SELECT nuda_collect((SELECT v FROM has)) ->> 'dropped';
SELECT DISTINCT site FROM nuda_changes WHERE site = 'log.strong';
--> ship c a
SELECT id, title, length(body) FROM t ORDER BY id;
--> sync
--> on b
SELECT id, title, length(body) FROM t ORDER BY id;
--> on c
SELECT id, title, length(body) FROM t ORDER BY id;
