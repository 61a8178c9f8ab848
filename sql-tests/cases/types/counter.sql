--# portable
-- A COUNTER ships differences: increments made at the same time all count.
CREATE TABLE page(id TEXT PRIMARY KEY, hits COUNTER);
SELECT nuda_track('page');
INSERT INTO page VALUES ('home', 100);
--> replica b of a
UPDATE page SET hits = hits + 1;
UPDATE page SET hits = hits + 1;
--> on a
UPDATE page SET hits = hits + 10;
UPDATE page SET hits = 115;
--> sync
SELECT * FROM page;
SELECT count(*) FROM nuda_conflicts;
-- Two inserts of one key add up.
INSERT INTO page VALUES ('new', 1);
--> on b
INSERT INTO page VALUES ('new', 2);
--> sync
SELECT * FROM page ORDER BY id;
-- What is no whole number is refused, and the statement with it.
UPDATE page SET hits = NULL WHERE id = 'new';
UPDATE page SET hits = 1.5 WHERE id = 'new';
UPDATE page SET hits = 'many' WHERE id = 'new';
INSERT INTO page VALUES ('bad', NULL);
INSERT OR IGNORE INTO page VALUES ('bad', 'x');
INSERT INTO page(id) VALUES ('bad');
SELECT * FROM page ORDER BY id;
