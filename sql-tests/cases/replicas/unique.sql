--# portable
-- unique=keep_first: of rows with one unique value the oldest is shown, wherever, in whatever order.
CREATE TABLE person(id TEXT PRIMARY KEY, mail TEXT UNIQUE COLLATE NOCASE, nick TEXT UNIQUE, n COUNTER);
SELECT nuda_track('person');
SELECT nuda_track('person', 'strong', 'unique=keep_first');
SELECT nuda_track('person', 'eventual', 'unique=keep_first');
SELECT options FROM nuda_tables;
--> replica b of a
--> replica c of a

-- The same value on two nodes; SQLite's own error as ever where it is seen.
--> on a
INSERT INTO person VALUES ('a1', 'x@example.org', 'ann', 0);
INSERT INTO person VALUES ('a2', 'X@example.org', NULL, 0);
--> later
--> on b
INSERT INTO person VALUES ('b1', 'X@EXAMPLE.org', 'bob', 1), ('b2', NULL, NULL, 0);
--> sync
SELECT id, mail, nick FROM person ORDER BY id;
--> on a
SELECT id, mail, nick FROM person ORDER BY id;
SELECT "table", "key", "column", lost, reason FROM nuda_conflicts;
INSERT INTO person VALUES ('a3', 'x@example.ORG', NULL, 0);

-- A hidden row is merged all the same: b has not heard of the conflict when it counts.
--> on c
INSERT INTO person VALUES ('c1', 'y@example.org', 'cat', 0);
--> ship c b
--> on b
UPDATE person SET n = n + 5 WHERE id = 'c1';
UPDATE person SET nick = 'kim' WHERE id = 'c1';
--> later
--> on c
UPDATE person SET nick = 'ann' WHERE id = 'c1';
--> sync
SELECT id, mail, nick, n FROM person ORDER BY id;
-- c1 took ann's nick after it was there: SQLite refused, and a1 keeps it.
--> on a
DELETE FROM person WHERE id = 'a1';
--> sync
-- The next oldest with the mail is back, with what was merged meanwhile.
SELECT id, mail, nick, n FROM person ORDER BY id;
--> on c
SELECT id, mail, nick, n FROM person ORDER BY id;

-- A value that changes frees the others; an update runs into one.
--> on b
UPDATE person SET nick = 'zoe' WHERE id = 'b1';
--> on a
INSERT INTO person VALUES ('a4', 'a4@example.org', 'zoe', 0);
--> sync
SELECT id, nick FROM person ORDER BY id;
--> on a
UPDATE person SET nick = NULL WHERE id = 'b1';
--> sync
SELECT id, nick FROM person ORDER BY id;
--> on c
SELECT id, nick FROM person ORDER BY id;
PRAGMA integrity_check;
SELECT count(*) FROM nuda_hidden;
