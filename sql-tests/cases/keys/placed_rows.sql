--# portable
-- The row that is put in the way of a key is gone however its statement ends.
CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT NOT NULL CHECK (length(v) < 9), w DEFAULT 'w');
CREATE INDEX t_v ON t(v);
SELECT nuda_track('t', 'eventual', 'site_ranges');
INSERT INTO t VALUES (1000000000, 'far', 0);
-- NOT NULL and CHECK hold as for the row itself, under every policy.
INSERT INTO t(v) VALUES (NULL);
INSERT OR IGNORE INTO t(v) VALUES (NULL), ('too long a text'), ('kept');
SELECT id / 64 = 1000000000 / 64, v, w FROM t ORDER BY id;
INSERT INTO t VALUES (2000000000000, 'far', 0);
INSERT OR FAIL INTO t(v) VALUES ('one'), (NULL);
INSERT INTO t VALUES (3000000000000, 'far', 0);
INSERT OR ROLLBACK INTO t(v) VALUES ('two'), (NULL);
SELECT v FROM t ORDER BY id;
-- In a transaction: savepoints, aborted and ignored statements.
BEGIN;
SAVEPOINT one;
INSERT INTO t(v) VALUES ('three');
INSERT INTO t VALUES (4000000000000, 'far', 0);
INSERT INTO t(v) VALUES ('four');
ROLLBACK TO one;
INSERT INTO t(v) VALUES ('five');
INSERT INTO t(v) VALUES ('six'), (NULL);
INSERT INTO t VALUES (-1, 'minus', 0);
INSERT INTO t VALUES (5000000000000, 'far', 0);
INSERT OR IGNORE INTO t VALUES (-1, 'ignored', 0);
SELECT v FROM t ORDER BY id;
INSERT INTO t VALUES (-1, 'nothing', 0) ON CONFLICT DO NOTHING;
SELECT count(*) FROM t;
COMMIT;
-- By itself such a statement cannot be told from one that inserts.
INSERT INTO t VALUES (6000000000000, 'far', 0);
INSERT OR IGNORE INTO t VALUES (-1, 'ignored', 0);
SELECT count(*) FROM t;
PRAGMA integrity_check;
-- A rule about the key itself cannot be met by the row before it.
CREATE TABLE even(id INTEGER PRIMARY KEY CHECK (id % 2 = 0), v);
SELECT nuda_track('even', 'eventual', 'site_ranges');
INSERT INTO even(v) VALUES (1);
SELECT count(*) FROM even;
-- The greatest key of all.
INSERT INTO t VALUES (9223372036854775807, 'last', 0);
INSERT INTO t(v) VALUES ('beyond');
DELETE FROM t WHERE id = 9223372036854775807;
INSERT INTO t(v) VALUES ('fine');
SELECT count(*) FROM t;
--> replica b of a
--> sync
