--# portable
-- MVREG: values written at the same time are all kept, as a JSON array, until somebody decides.
CREATE TABLE page(id TEXT PRIMARY KEY, title MVREG TEXT, n MVREG INTEGER);
SELECT nuda_track('page');
INSERT INTO page VALUES ('home', 'draft', 1);
--> replica b of a
--> replica c of a
--> on a
UPDATE page SET title = 'Hello', n = 10;
--> on b
UPDATE page SET title = 'Hi "all"', n = 9;
--> on c
UPDATE page SET title = 'Hello', n = NULL;
--> sync
--> on a
SELECT * FROM page;
SELECT count(*) FROM nuda_conflicts;
-- Whoever writes next has seen them all.
UPDATE page SET title = 'Welcome', n = 11;
--> sync
--> on c
SELECT * FROM page;
-- Between two decisions made at the same time, both are kept again.
UPDATE page SET title = 'C';
--> on b
UPDATE page SET title = 'B';
--> ship b a
--> ship c a
--> on a
SELECT title FROM page;
UPDATE page SET title = 'A';
--> sync
SELECT title FROM page;
UPDATE page SET title = x'00';
UPDATE page SET title = CAST(x'6162ff' AS TEXT);
