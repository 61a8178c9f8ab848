--# portable
-- What each conflict policy leaves of a statement is what is captured of it.
CREATE TABLE t(id TEXT PRIMARY KEY, x NOT NULL);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1), ('b', 2);
--> replica b of a
--> on a
INSERT OR ABORT INTO t VALUES ('c', 3), ('a', 9), ('d', 4);
INSERT OR FAIL INTO t VALUES ('e', 5), ('a', 9), ('f', 6);
INSERT OR IGNORE INTO t VALUES ('g', 7), ('a', 9), ('h', NULL), ('i', 8);
INSERT OR REPLACE INTO t VALUES ('j', 10), ('a', 11);
BEGIN;
INSERT INTO t VALUES ('k', 12);
INSERT OR ROLLBACK INTO t VALUES ('l', 13), ('a', 9);
INSERT INTO t VALUES ('m', 14);
BEGIN;
INSERT INTO t VALUES ('n', 15);
INSERT OR FAIL INTO t VALUES ('o', 16), ('a', 9);
UPDATE OR IGNORE t SET id = 'b' WHERE id = 'a';
UPDATE OR FAIL t SET x = CASE id WHEN 'g' THEN NULL ELSE x + 100 END;
COMMIT;
INSERT INTO t VALUES ('a', 20), ('p', 21), ('p', 22) ON CONFLICT(id) DO UPDATE SET x = x + excluded.x WHERE id <> 'b';
INSERT INTO t SELECT id, x FROM t WHERE true ON CONFLICT DO NOTHING;
SELECT seq, change, group_concat("key") FROM (SELECT * FROM nuda_changes WHERE seq > 2 ORDER BY seq, change, "key") GROUP BY seq, change;
SELECT * FROM t ORDER BY id;
--> sync
-- Nothing depends on trusting the schema.
PRAGMA trusted_schema = off;
INSERT INTO t VALUES ('q', 1);
UPDATE t SET x = x + 1 WHERE id = 'q';
DELETE FROM t WHERE id = 'q';
--> sync
