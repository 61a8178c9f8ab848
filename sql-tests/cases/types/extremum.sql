--# portable
-- MAXREG and MINREG: of values written at the same time the greatest, or least, is kept.
CREATE TABLE lap(runner TEXT PRIMARY KEY, score MAXREG INTEGER, best MINREG REAL, grade MAXREG TEXT);
SELECT nuda_track('lap');
INSERT INTO lap VALUES ('ada', 10, 12.5, 'c');
--> replica b of a
--> replica c of a
--> on a
UPDATE lap SET score = 30, best = 11.5, grade = 'b';
--> later
--> on b
UPDATE lap SET score = 20, best = 11.25, grade = NULL;
--> later
--> on c
UPDATE lap SET score = 25, best = 12.0, grade = 'aa';
--> sync
--> on a
SELECT * FROM lap;
-- What lost, against what was kept.
SELECT "column", lost, reason FROM nuda_conflicts ORDER BY "column", lost;
-- A write that saw the others replaces them, also by a smaller value.
UPDATE lap SET score = 5, best = 99;
--> sync
--> on b
SELECT score, best FROM lap;
-- Nothing is less than NULL and nothing greater: it only stays if nobody wrote a value.
UPDATE lap SET score = NULL;
--> on c
UPDATE lap SET score = -1;
--> sync
SELECT score FROM lap;
UPDATE lap SET grade = x'00';
