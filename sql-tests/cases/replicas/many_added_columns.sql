--# portable
-- More columns than the capture tables have room for: rows are handed over in pieces.
CREATE TABLE t(id TEXT PRIMARY KEY, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('1', 1), ('2', 2), ('3', 3);
--> replica b of a
--> on a
--> repeat 30 ALTER TABLE t ADD COLUMN c{n} DEFAULT {n};
INSERT INTO t(id, n, c1, c30) VALUES ('4', 4, 'first', 'last'), ('5', 5, 'first', 'last');
UPDATE t SET c30 = id, n = n + 1 WHERE id < '3';
INSERT OR REPLACE INTO t(id, n, c15) VALUES ('2', 10, 'middle');
UPDATE OR REPLACE t SET id = '1' WHERE id = '3';
DELETE FROM t WHERE id = '5';
SELECT id, n, c1, c15, c30 FROM t ORDER BY id;
--> sync
--> on b
UPDATE t SET n = n + 1, c29 = 'b';
--> on a
UPDATE t SET n = n + 1, c28 = 'a';
--> sync
SELECT id, n, c1, c15, c28, c29, c30 FROM t ORDER BY id;
-- The same where SQLite invents keys, and the row is needed to invent one.
--> on a
CREATE TABLE k(id INTEGER PRIMARY KEY, v NOT NULL);
SELECT nuda_track('k', 'eventual', 'site_ranges');
--> repeat 30 ALTER TABLE k ADD COLUMN c{n} NOT NULL DEFAULT {n};
INSERT INTO k(v, c30) VALUES ('one', 'last'), ('two', 'last');
INSERT INTO k(id, v) VALUES (1000000000000, 'far');
INSERT INTO k(v, c29) VALUES ('three', 'x'), ('four', 'y');
INSERT OR IGNORE INTO k(v, c29) VALUES ('five', NULL), (NULL, 'z'), ('six', 'z');
SELECT v, c1, c29, c30 FROM k ORDER BY id;
--> sync
--> on b
INSERT INTO k(v, c30) VALUES ('seven', 'b'), ('eight', 'b');
--> sync
SELECT count(*), count(DISTINCT id / 64) FROM k;
