--# portable
-- ALTER TABLE ADD COLUMN on the founding node replicates with the next write, whatever it is.
CREATE TABLE t(id TEXT PRIMARY KEY, v, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('1', 'x', 1), ('2', 'y', 2), ('3', 'z', 3);
--> replica b of a
--> on a
ALTER TABLE t ADD COLUMN extra TEXT DEFAULT 'unset';
BEGIN;
UPDATE t SET extra = 'only the new column' WHERE id = '1';
INSERT INTO t VALUES ('4', 'w', 4, 'new');
DELETE FROM t WHERE id = '3';
INSERT OR REPLACE INTO t VALUES ('2', 'yy', 5, 'replaced');
COMMIT;
UPDATE t SET extra = 'later', n = n + 1 WHERE id = '2';
--> sync
--> on b
SELECT * FROM t ORDER BY id;
UPDATE t SET extra = 'from b' WHERE id = '4';
--> sync
--> on a
SELECT * FROM t ORDER BY id;
-- Anywhere else, and for anything but adding, the next write says what is wrong.
--> on b
ALTER TABLE t ADD COLUMN mine;
UPDATE t SET mine = 1;
ALTER TABLE t DROP COLUMN mine;
UPDATE t SET v = 'fine' WHERE id = '1';
--> on a
ALTER TABLE t RENAME COLUMN v TO w;
UPDATE t SET w = 1;
ALTER TABLE t RENAME COLUMN w TO v;
ALTER TABLE t RENAME TO tt;
UPDATE tt SET v = 1;
ALTER TABLE tt RENAME TO t;
UPDATE t SET n = n + 1;
--> sync
SELECT * FROM t ORDER BY id;
