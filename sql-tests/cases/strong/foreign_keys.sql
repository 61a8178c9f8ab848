-- Strong transactions on eventual tables that refer to each other: a strong DELETE ends what had not
-- seen it, and a child that was inserted meanwhile is held back; a strong child keeps its parent.
PRAGMA foreign_keys = on;
CREATE TABLE p(id TEXT PRIMARY KEY, v);
CREATE TABLE c(id TEXT PRIMARY KEY, p TEXT REFERENCES p(id));
SELECT nuda_track('p', 'eventual', 'delete_wins'), nuda_track('c');
INSERT INTO p VALUES ('x', 1), ('y', 1);
--> twin b of a
--> on a
SELECT nuda_write_consistency('strong');
DELETE FROM p WHERE id = 'x';
INSERT INTO c VALUES ('strong', 'y');
--> on b
PRAGMA foreign_keys = on;
INSERT INTO c VALUES ('eventual', 'x');
DELETE FROM p WHERE id = 'y';
--> sync
SELECT * FROM p;
SELECT * FROM c;
SELECT "table", "key", reason FROM nuda_conflicts ORDER BY id;
PRAGMA foreign_key_check;
--> on b
SELECT * FROM p;
SELECT * FROM c;
PRAGMA foreign_key_check;
