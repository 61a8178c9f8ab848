--# portable
-- Rows that a table has already travel with its definition.
SELECT nuda_init('p') <> '';
--> replica b of a
--> on a
CREATE TABLE t(id TEXT PRIMARY KEY, v, n COUNTER);
CREATE INDEX t_v ON t(v);
INSERT INTO t VALUES ('a', 'old', 5), ('b', 'older', 7);
SELECT nuda_track('t');
--> ship a b
--> on b
SELECT * FROM t ORDER BY id;
SELECT sql FROM sqlite_schema WHERE name LIKE 't%' AND type IN ('table', 'index') AND sql IS NOT NULL ORDER BY name;
UPDATE t SET n = n + 1;
--> sync
--> on a
SELECT * FROM t ORDER BY id;
-- A table of that name with rows of its own is in the way; nothing is lost, and renaming it helps.
--> on b
CREATE TABLE u(id TEXT PRIMARY KEY, mine);
INSERT INTO u VALUES ('m', 'kept');
--> on a
CREATE TABLE u(id TEXT PRIMARY KEY, v);
SELECT nuda_track('u');
INSERT INTO u VALUES ('x', 1);
--> ship a b
--> on b
SELECT waiting > 0 FROM nuda_status;
ALTER TABLE u RENAME TO mine;
--> ship a b
SELECT * FROM u;
SELECT * FROM mine;
