--# portable
-- The log shrinks once every member has reported, and merging goes on as before.
CREATE TABLE t(id TEXT PRIMARY KEY, v, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('r', 0, 0);
--> replica b of a
SELECT nuda_set_members(1, 'a,b');
--> on a
SELECT nuda_set_members(1, 'a,b');
UPDATE t SET n = n + 1;
DELETE FROM t;
INSERT INTO t VALUES ('r', 1, 1), ('s', 1, 1);
--> sync
-- Nobody has reported: nothing goes.
SELECT json_extract(nuda_collect(), '$.dropped');
--> acknowledge b a
--> acknowledge a b
--> on a
SELECT json_extract(nuda_collect(), '$.dropped') > 0;
SELECT log_records FROM nuda_status;
SELECT count(*) FROM nuda_changes_since('');
--> on b
SELECT json_extract(nuda_collect(), '$.dropped') > 0;
UPDATE t SET n = n + 5 WHERE id = 'r';
--> on a
DELETE FROM t WHERE id = 'r';
--> sync
SELECT * FROM t ORDER BY id;
SELECT nuda_acknowledge('b', 'nonsense');
SELECT nuda_set_members(2, 'a,,b');
