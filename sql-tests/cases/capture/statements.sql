--# portable
-- Plain statements: what is captured is the net effect of each transaction.
CREATE TABLE t(id TEXT PRIMARY KEY, x, y);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1, 2), ('b', 3, 4);
UPDATE t SET x = 10 WHERE id = 'a';
-- An update that changes nothing is no change.
UPDATE t SET x = 10 WHERE id = 'a';
DELETE FROM t WHERE id = 'b';
SELECT seq, "table", change, "key", columns FROM nuda_changes;
-- Several statements in one transaction are one changeset, with one change per row.
BEGIN;
INSERT INTO t VALUES ('c', 5, 6);
UPDATE t SET y = 7 WHERE id = 'c';
UPDATE t SET y = 8 WHERE id = 'c';
INSERT INTO t VALUES ('d', 1, 1);
DELETE FROM t WHERE id = 'd';
COMMIT;
SELECT seq, change, "key", columns FROM nuda_changes WHERE seq > 3;
-- A rolled back transaction leaves no trace and no gap.
BEGIN;
INSERT INTO t VALUES ('e', 5, 6);
ROLLBACK;
INSERT INTO t VALUES ('f', 1, 1);
SELECT seq, change, "key" FROM nuda_changes ORDER BY seq DESC LIMIT 1;
SELECT * FROM t ORDER BY id;
