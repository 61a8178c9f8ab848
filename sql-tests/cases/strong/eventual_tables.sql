--# portable
-- Strong writes to an eventual table: one order, and rule by rule what they make of eventual writes
-- that had not seen them. In these cases a alone writes strongly: files in no cluster do not know
-- of each other.
PRAGMA synchronous = FULL;
CREATE TABLE t(id TEXT PRIMARY KEY, title TEXT, many MVREG TEXT, n COUNTER, tags ORSET, best MAXREG INTEGER);
CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER CHECK (balance >= 0));
SELECT nuda_track('t'), nuda_track('account', 'strong');
INSERT INTO t VALUES ('x', 'old', 'old', 0, '[]', 0), ('y', 'old', 'old', 0, '[]', 0);
INSERT INTO account VALUES ('a', 100);
--> twin b of a
--> twin c of a
--> on a
SELECT nuda_write_consistency('strong');
UPDATE t SET title = 'strong', many = 'strong', n = n + 1, tags = '["strong"]', best = 5 WHERE id = 'x';
SELECT json_extract(nuda_last_commit(), '$.level'), json_extract(nuda_last_commit(), '$.position');
SELECT site, seq, "table", change, columns FROM nuda_changes WHERE site = 'log.strong' AND "table" = 't';
-- The later write had not seen it: registers keep the strong values, everything else merges.
--> later
--> on b
UPDATE t SET title = 'unseen', many = 'unseen', n = n + 10, tags = '["unseen"]', best = 7 WHERE id = 'x';
--> sync
SELECT * FROM t WHERE id = 'x';
SELECT "column", lost, lost_site = nuda_status.site AS mine, won_site, reason FROM nuda_conflicts, nuda_status ORDER BY "column";
-- Who saw it wins, against whoever did not, whatever the clocks say and whoever met first: c wrote
-- latest of all.
--> on a
UPDATE t SET title = 'second', many = 'second' WHERE id = 'x';
--> ship a b
--> on b
UPDATE t SET title = 'knows it', many = 'knows it' WHERE id = 'x';
--> later
--> on c
UPDATE t SET title = 'does not', many = 'does not' WHERE id = 'x';
--> ship c a
--> ship b c
--> ship c b
--> sync
SELECT title, many FROM t WHERE id = 'x';
--> on a
SELECT title, many FROM t WHERE id = 'x';
-- Among those that saw it the later one wins.
--> on b
UPDATE t SET title = 'earlier' WHERE id = 'x';
--> later
--> on c
UPDATE t SET title = 'later' WHERE id = 'x';
--> sync
SELECT title FROM t WHERE id = 'x';
-- A strong DELETE ends what had not seen it, counters and inserts too.
--> on a
DELETE FROM t WHERE id = 'x';
--> later
--> on b
UPDATE t SET title = 'too late', n = n + 100 WHERE id = 'x';
--> sync
SELECT count(*) FROM t WHERE id = 'x';
SELECT "column", lost, won_site, reason FROM nuda_conflicts WHERE reason LIKE '%delete%' ORDER BY "column";
-- Inserted again it begins anew.
INSERT INTO t VALUES ('x', 'new', 'new', 1, '["new"]', 1);
--> sync
SELECT * FROM t WHERE id = 'x';
-- A strong edit outlives a delete that had not seen it.
--> on a
UPDATE t SET title = 'stays' WHERE id = 'y';
--> later
--> on b
DELETE FROM t WHERE id = 'y';
--> sync
SELECT * FROM t WHERE id = 'y';
-- One transaction over both kinds is strong whatever the level, whole or not at all.
--> on a
SELECT nuda_write_consistency('eventual');
BEGIN;
UPDATE t SET n = n + 1 WHERE id = 'y';
UPDATE account SET balance = balance - 1;
COMMIT;
SELECT json_extract(nuda_last_commit(), '$.level'), json_extract(nuda_last_commit(), '$.position');
SELECT DISTINCT "table" FROM nuda_changes WHERE site = 'log.strong' AND seq = json_extract(nuda_last_commit(), '$.position') ORDER BY 1;
BEGIN;
UPDATE t SET n = n + 1 WHERE id = 'y';
UPDATE account SET balance = balance - 1000;
ROLLBACK;
--> sync
--> on c
SELECT t.n, balance FROM t, account WHERE t.id = 'y';
