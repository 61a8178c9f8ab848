--# portable
-- Capture is not seen by the statement that is captured.
CREATE TABLE t(id INTEGER PRIMARY KEY, v);
CREATE TABLE plain(id INTEGER PRIMARY KEY AUTOINCREMENT, v);
SELECT nuda_track('t');
BEGIN;
INSERT INTO plain(v) VALUES ('x');
INSERT INTO t VALUES (77, 1), (78, 2);
SELECT last_insert_rowid(), changes();
UPDATE t SET v = 3;
SELECT changes();
COMMIT;
SELECT last_insert_rowid();
INSERT INTO t VALUES (5, 5) RETURNING id, v;
-- Triggers of the user run once where the write happens, and not again where it arrives.
CREATE TABLE audit(id TEXT PRIMARY KEY, n COUNTER);
SELECT nuda_track('audit');
INSERT INTO audit VALUES ('writes', 0);
CREATE TRIGGER count_writes AFTER UPDATE ON t BEGIN
  UPDATE audit SET n = n + 1 WHERE id = 'writes';
END;
--> replica b of a
--> on a
UPDATE t SET v = 4 WHERE id = 77;
SELECT n FROM audit;
--> ship a b
--> on b
SELECT n FROM audit;
