--# portable
-- Savepoints and aborted statements take back exactly what they did.
CREATE TABLE t(id TEXT PRIMARY KEY, x NOT NULL);
SELECT nuda_track('t');
BEGIN;
INSERT INTO t VALUES ('kept', 1);
SAVEPOINT one;
INSERT INTO t VALUES ('gone', 2);
UPDATE t SET x = 99 WHERE id = 'kept';
ROLLBACK TO one;
INSERT INTO t VALUES ('after', 3);
RELEASE one;
COMMIT;
SELECT seq, change, "key" FROM nuda_changes ORDER BY "key";
-- A statement that fails half way in the middle of a transaction.
BEGIN;
INSERT INTO t VALUES ('first', 1);
INSERT INTO t SELECT 'n' || value, CASE value WHEN 3 THEN NULL ELSE value END FROM json_each('[1,2,3,4]');
INSERT INTO t VALUES ('last', 1);
COMMIT;
SELECT seq, change, "key" FROM nuda_changes WHERE seq = 3 ORDER BY "key";
-- A savepoint opened before the first write to a tracked table.
SAVEPOINT outer;
INSERT INTO t VALUES ('outer', 1);
ROLLBACK TO outer;
RELEASE outer;
SELECT count(*) FROM nuda_changes WHERE "key" = 'outer';
-- A second connection goes on with the next number.
--> open b a.db
INSERT INTO t VALUES ('second', 1);
SELECT seq, change, "key" FROM nuda_changes ORDER BY seq DESC LIMIT 1;
--> on a
INSERT INTO t VALUES ('third', 1);
SELECT seq, change, "key" FROM nuda_changes ORDER BY seq DESC LIMIT 2;
