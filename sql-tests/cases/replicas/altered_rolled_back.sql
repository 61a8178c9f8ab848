-- A change of tables that fails leaves nothing that is remembered, also not for the schema numbers that it had used.
CREATE TABLE t(id TEXT PRIMARY KEY, a);
SELECT nuda_track('t');
INSERT INTO t VALUES ('1', 'a');
--> replica b of a
--> on a
SELECT nuda_exec('ALTER TABLE t ADD COLUMN z; ALTER TABLE t DROP COLUMN absent');
--> repeat 30 CREATE TABLE m(x); UPDATE t SET a = 'odd {n}'; CREATE INDEX m_x ON m(x); UPDATE t SET a = {n}; DROP TABLE m;
--> sync
--> on b
SELECT * FROM t;
