--# portable
-- A file copied while it is used: the copy edits sets, texts and documents as another author, from
-- its first write on, and both edits of everything are kept.
CREATE TABLE t(id TEXT PRIMARY KEY, body TEXTDOC, d DOC, tags ORSET, mv MVREG TEXT, hi MAXREG INTEGER, n COUNTER);
SELECT nuda_column('t', 'd', 'DOC', '$.n counter');
SELECT nuda_track('t');
INSERT INTO t VALUES ('x', 'abc', '{"k":0,"l":[1],"n":1}', '[1]', 'm', 1, 1);
UPDATE t SET body = 'abcd', d = '{"k":1,"l":[1,2],"n":2}', tags = '[1,2]', mv = 'n', hi = 2, n = 2;
SELECT nuda_join('a');
PRAGMA wal_checkpoint(truncate);
--> copy a.db c.db
UPDATE t SET body = 'Xabcd', d = '{"a":1,"k":2,"l":[0,1,2],"n":3}', tags = '[2,3]', mv = 'a', hi = 3, n = 3;
--> later
--> open c
UPDATE t SET body = 'abcdY', d = '{"c":1,"k":3,"l":[1,2,3],"n":12}', tags = '[1,2,4]', mv = 'c', hi = 4, n = 12;
--> sync
SELECT * FROM t;
-- Both go on, and what one removes the other had seen.
UPDATE t SET body = replace(body, 'b', ''), d = json_remove(d, '$.a', '$.l[1]'), tags = '[2,4]', mv = 'both', hi = 1, n = n + 1;
--> on a
UPDATE t SET body = body || '!', d = json_set(d, '$.l[#]', 4), n = n + 1;
--> sync
SELECT * FROM t;
-- Stamps from a clock that was ahead are taken back while others have edited the same document.
--> on c
CREATE TEMP VIEW before AS SELECT (max(id) >> 14 & 0x3ffffffff) - 1 AS seq
  FROM nuda_log WHERE id >> 48 = (SELECT site FROM nuda_state);
UPDATE t SET body = 'c' || body, d = json_set(d, '$.k', 'ahead', '$.l[#]', 'c', '$.n', 100);
SELECT nuda_restamp((SELECT seq FROM before), 1600000000000);
--> later
--> on a
UPDATE t SET body = 'a' || body, d = json_set(d, '$.k', 'later', '$.l[#]', 'a', '$.n', 20);
--> sync
SELECT length(body), json_extract(d, '$.k', '$.n'), json_array_length(d, '$.l') FROM t;
--> on c
SELECT length(body), json_extract(d, '$.k', '$.n'), json_array_length(d, '$.l') FROM t;
-- The same where the other edit was here before the stamp was taken back.
--> on a
UPDATE t SET d = json_set(d, '$.k', 'first', '$.l[#]', 'a2');
--> on c
UPDATE t SET d = json_set(d, '$.k', 'second', '$.l[#]', 'c2');
--> ship a c
SELECT nuda_restamp((SELECT seq FROM before), 1600000000000);
--> sync
SELECT json_array_length(d, '$.l') FROM t;
