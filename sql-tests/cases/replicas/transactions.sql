--# portable
-- A transaction arrives whole, and what two transactions wrote wins or loses as a unit.
CREATE TABLE t(id TEXT PRIMARY KEY, x, y);
SELECT nuda_track('t');
INSERT INTO t VALUES ('r', 0, 0);
--> replica b of a
--> on a
UPDATE t SET x = 1, y = 1;
--> later
--> on b
BEGIN;
UPDATE t SET x = 2;
UPDATE t SET y = 2;
COMMIT;
--> sync
--> on a
SELECT * FROM t;
SELECT "column", lost FROM nuda_conflicts ORDER BY "column";
