--# portable
-- A table rebuilt by hand has lost its capture triggers: that is no silent matter.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
--> replica b of a
--> on a
INSERT INTO t VALUES ('b', 1);
--> on b
BEGIN;
CREATE TABLE t_new(id TEXT PRIMARY KEY, v);
INSERT INTO t_new SELECT * FROM t;
DROP TABLE t;
ALTER TABLE t_new RENAME TO t;
COMMIT;
SELECT json_extract(nuda_digest(), '$.tables[0].digest');
--> ship a b
--> on b
SELECT reason FROM nuda_waiting;
