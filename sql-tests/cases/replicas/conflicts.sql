--# portable
-- nuda_conflicts says what lost and what won, of everything that has a winner; nuda_hidden_rows says
-- what is out of sight now.
CREATE TABLE t(id TEXT PRIMARY KEY, v, hi MAXREG INTEGER, lo MINREG TEXT, d DOC);
CREATE TABLE gone(id TEXT PRIMARY KEY, v);
CREATE TABLE person(id TEXT PRIMARY KEY, mail TEXT UNIQUE, photo BLOB, age REAL, nick TEXT, UNIQUE (age, nick));
SELECT nuda_track('t'), nuda_track('gone', 'eventual', 'delete_wins'), nuda_track('person', 'eventual', 'unique=keep_first');
INSERT INTO t VALUES ('x', 0, 0, '0', '{"a":0,"o":{"p":1},"q":0}');
INSERT INTO gone VALUES ('x', 0);
--> replica b of a
UPDATE t SET v = 'lost', hi = 5, lo = 'b', d = json_set(d, '$.a', 1, '$.o.r', 2, '$.q', json('{"s":1}'));
UPDATE gone SET v = 'lost';
--> later
--> on a
UPDATE t SET v = x'00ff', hi = 9, lo = 'a', d = json_set(d, '$.a', json('[1,2]'), '$.o', 7, '$.q', 8);
DELETE FROM gone;
--> sync
SELECT "table", "column", lost, hex(kept), typeof(kept) FROM nuda_conflicts ORDER BY "table", "column";
--> on b
SELECT "table", "column", lost, kept IS NULL OR hex(kept) IN (SELECT hex(value) FROM json_each('["9","a","[1,2]","7","8"]')) OR kept = x'00ff' FROM nuda_conflicts ORDER BY "table", "column";
-- A long value: its beginning, between two characters.
UPDATE t SET v = 'x' || printf('%.*c', 50000, 'ä');
--> later
--> on a
UPDATE t SET v = zeroblob(100000);
--> sync
SELECT typeof(lost), length(lost), length(CAST(lost AS BLOB)), typeof(kept), length(kept), reason FROM nuda_conflicts WHERE id = (SELECT max(id) FROM nuda_conflicts);
-- Files of earlier builds have no such column: it is added where something loses.
ALTER TABLE nuda_conflicts DROP COLUMN kept;
UPDATE t SET v = 'earlier';
--> later
--> on b
UPDATE t SET v = 'later';
--> sync
--> on a
SELECT lost, kept FROM nuda_conflicts WHERE id = (SELECT max(id) FROM nuda_conflicts);
-- Rows that are out of sight.
SELECT count(*) FROM nuda_hidden_rows;
INSERT INTO person VALUES ('p1', 'ann@example.org', NULL, 1.5, 'a');
--> later
--> on b
INSERT INTO person VALUES ('p2', 'ann@example.org', x'0102', 2.5, 'say "a"'), ('p3', 'bob@example.org', NULL, 1.5, 'a');
--> sync
SELECT "table", "key", columns, by, since_ms = (SELECT max(at_ms) FROM nuda_conflicts WHERE "key" = h."key") AS since, reason, row FROM nuda_hidden_rows h;
SELECT count(*) FROM nuda_hidden_rows h, json_each(h.row);
-- The report is emptied: what is hidden is still told.
DELETE FROM nuda_conflicts;
SELECT "key", columns, by, since_ms, reason FROM nuda_hidden_rows;
--> on a
DELETE FROM person WHERE id = 'p1';
--> sync
SELECT count(*) FROM nuda_hidden_rows;
SELECT count(*) FROM person;
