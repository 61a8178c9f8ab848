--# portable
-- Columns that one CHECK names are one cell: what two nodes wrote to different ones is not mixed.
CREATE TABLE shift(id INTEGER PRIMARY KEY, starts INT, ends INT, note TEXT, CHECK (starts < ends));
SELECT nuda_track('shift');
INSERT INTO shift VALUES (1, 8, 16, ''), (2, 8, 16, ''), (3, 8, 16, '');
--> replica b of a
UPDATE shift SET ends = 10;
--> later
--> on a
UPDATE shift SET starts = 12, note = 'late' WHERE id < 3;
-- A REPLACE and several updates of one row ship the group, too.
INSERT OR REPLACE INTO shift VALUES (2, 13, 16, 'later');
UPDATE shift SET starts = 9 WHERE id = 3;
UPDATE shift SET starts = 11 WHERE id = 3;
SELECT "key", columns FROM nuda_changes WHERE seq > 2;
--> sync
SELECT * FROM shift;
--> on b
SELECT * FROM shift;
SELECT "key", "column", lost FROM nuda_conflicts ORDER BY "key", "column";
-- CHECKs that share a column make one group; key columns never change and need none. A generated
-- column stands for those that it is made of.
--> on a
CREATE TABLE range(k INT, a INT, b INT, c INT, d INT, e INT, f INT AS (d + e), PRIMARY KEY (k),
  CHECK (a < b), CHECK ("b" < [c]), CHECK (k < d), CHECK (f < 10));
SELECT nuda_track('range');
INSERT INTO range VALUES (0, 1, 2, 3, 4, 5);
UPDATE range SET a = 0;
UPDATE range SET e = 4;
SELECT columns FROM nuda_changes WHERE "table" = 'range' AND change = 'update';
--> ship a b
--> on b
UPDATE range SET c = 5 WHERE k = 0;
SELECT columns FROM nuda_changes WHERE "table" = 'range' AND change = 'update' AND seq < 3;
-- An added column joins no group.
--> on a
ALTER TABLE shift ADD COLUMN pause INT CHECK (pause < ends);
INSERT INTO shift VALUES (4, 1, 2, '', 1);
SELECT problems LIKE '%added column pause has a CHECK%' FROM nuda_status;
-- What cannot be one cell is refused.
CREATE TABLE m(id INTEGER PRIMARY KEY, high MAXREG INT, low INT, CHECK (low <= high));
SELECT nuda_track('m');
CREATE TABLE n(id INTEGER PRIMARY KEY, n COUNTER, most INT, CHECK (n <= most));
SELECT nuda_track('n');
