--# portable
-- With site_ranges SQLite invents keys, each site in blocks of 64 that no other site uses.
CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT NOT NULL, n COUNTER DEFAULT 0);
SELECT nuda_track('t', 'eventual', 'site_ranges');
SELECT name, options FROM nuda_tables;
INSERT INTO t(v) VALUES ('a'), ('b'), ('c');
SELECT id = (SELECT max(id) FROM t), changes() FROM (SELECT last_insert_rowid() AS id);
SELECT (SELECT min(id) FROM t) % 64, (SELECT max(id) - min(id) FROM t), count(*) FROM t;
INSERT INTO t(v) VALUES ('d') RETURNING id = (SELECT max(id) FROM t), v;
-- A greater key of somebody else: the next one is in this site's next block.
INSERT INTO t VALUES (1000000000000, 'far', 0);
INSERT INTO t(v) VALUES ('after');
SELECT id > 1000000000000, id % 64, (id / 64) % 1048576 = (SELECT min(id) / 64 FROM t), v
FROM t WHERE id = last_insert_rowid();
SELECT count(*), group_concat(v) FROM (SELECT v FROM t ORDER BY id);
-- A statement of 200 rows goes through several blocks; nothing else is left in the table.
INSERT INTO t(v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
SELECT 'bulk ' || i FROM n;
SELECT changes();
SELECT count(*), count(DISTINCT (id / 64)), count(DISTINCT (id / 64) % 1048576) FROM t WHERE v LIKE 'bulk%';
SELECT count(*) FROM t;
-- An explicit -1 looks the same to a trigger, and works.
INSERT INTO t VALUES (-1, 'minus one', 0);
INSERT INTO t VALUES (1, 'one', 0);
SELECT id, v FROM t WHERE id < 2 ORDER BY id;
SELECT count(*) FROM t;
INSERT INTO t VALUES (-1, 'again', 0) ON CONFLICT DO UPDATE SET v = 'updated';
INSERT OR REPLACE INTO t VALUES (-1, 'replaced', 7);
INSERT OR IGNORE INTO t VALUES (-1, 'ignored', 0);
SELECT count(*), (SELECT v FROM t WHERE id = -1) FROM t;
-- Nothing was captured but the rows that are there.
--> replica b of a
--> sync
SELECT count(*), max(id) FILTER (WHERE v = 'far') FROM t;
