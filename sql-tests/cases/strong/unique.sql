-- A strong write to an eventual table with unique=keep_first sets a hidden row free as any other does.
CREATE TABLE person(id TEXT PRIMARY KEY, mail TEXT UNIQUE);
SELECT nuda_track('person', 'eventual', 'unique=keep_first');
--> twin b of a
--> on a
INSERT INTO person VALUES ('p1', 'x');
--> later
--> on b
INSERT INTO person VALUES ('p2', 'x');
--> sync
SELECT * FROM person;
--> on a
SELECT nuda_write_consistency('strong');
REPLACE INTO person VALUES ('p3', 'x');
DELETE FROM person WHERE id = 'p1';
SELECT nuda_settle();
SELECT * FROM person;
INSERT INTO person VALUES ('p4', 'x');
INSERT INTO person VALUES ('p5', 'y');
--> sync
--> on b
SELECT * FROM person ORDER BY id;
