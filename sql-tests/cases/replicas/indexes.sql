--# portable
-- CREATE INDEX and DROP INDEX on the founding node travel with the next captured write, whatever table it is of.
CREATE TABLE t(id TEXT PRIMARY KEY, v, w);
CREATE TABLE u(id TEXT PRIMARY KEY);
CREATE INDEX t_v ON t(v);
SELECT nuda_track('t'), nuda_track('u');
--> replica b of a
CREATE INDEX t_mine ON t(v, w);
INSERT INTO t VALUES ('1', 'x', 'y');
--> on a
CREATE INDEX t_w ON t(w) WHERE w IS NOT NULL;
DROP INDEX t_v;
INSERT INTO u VALUES ('1');
--> sync
SELECT version, name FROM nuda_tables;
--> on b
SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND name NOT GLOB 'nuda_*' ORDER BY name;
-- Or without a write: the daemon asks for it.
--> on a
CREATE INDEX t_v ON t(v COLLATE NOCASE);
SELECT nuda_propose(), nuda_propose();
--> ship a b
--> on b
SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND name NOT GLOB 'nuda_*' ORDER BY name;
DROP INDEX t_mine;
SELECT nuda_propose();
-- A UNIQUE index cannot hold, and is no reason to lose writes.
CREATE UNIQUE INDEX t_u ON t(w);
INSERT INTO t VALUES ('2', 'x', 'z');
SELECT problems FROM nuda_status;
--> on a
INSERT INTO t VALUES ('3', 'x', 'y');
CREATE UNIQUE INDEX t_u ON u(id);
INSERT INTO u VALUES ('2');
INSERT INTO t VALUES ('4', 'x', 'y');
DROP INDEX t_u;
INSERT INTO u VALUES ('2');
--> ship a b
--> on b
SELECT reason FROM nuda_waiting;
DROP INDEX t_u;
--> sync
SELECT count(*) FROM t;
-- Many rows in one statement after a change.
--> on a
ALTER TABLE t ADD COLUMN extra DEFAULT 'e';
CREATE INDEX t_e ON t(extra);
INSERT INTO t(id, v, extra) VALUES ('5', 'x', 1), ('6', 'y', 2), ('7', 'z', 3);
UPDATE t SET extra = extra || '!';
INSERT OR REPLACE INTO t(id, w) VALUES ('5', 'w'), ('6', 'w');
SELECT id, v, w, extra FROM t ORDER BY id;
--> sync
