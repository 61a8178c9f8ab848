-- With delete_wins, too, a strong edit outlives a delete that had not seen it; eventual ones do not, and
-- what they wrote meanwhile is in the row that is back.
CREATE TABLE t(id TEXT PRIMARY KEY, v TEXT, n COUNTER, tags ORSET, body TEXTDOC);
SELECT nuda_track('t', 'eventual', 'delete_wins');
INSERT INTO t VALUES ('x', 'old', 1, '[]', 'text');
--> twin b of a
--> twin c of a
--> on a
SELECT nuda_write_consistency('strong');
UPDATE t SET v = 'strong' WHERE id = 'x';
--> on b
DELETE FROM t;
--> on c
UPDATE t SET n = n + 5, tags = '["c"]', body = 'a text' WHERE id = 'x';
--> ship c b
--> on b
SELECT count(*) FROM t;
--> sync
SELECT * FROM t;
--> on c
SELECT * FROM t;
