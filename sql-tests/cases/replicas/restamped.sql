--# portable
-- Stamps from a clock that was ahead are taken back, never behind the record before them.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('1', 'shipped');
--> replica b of a
--> on a
CREATE TEMP VIEW before AS SELECT (max(id) >> 14 & 0x3ffffffff) - 1 AS seq
  FROM nuda_log WHERE id >> 48 = (SELECT site FROM nuda_state);
UPDATE t SET v = 'ahead';
SELECT nuda_restamp((SELECT seq FROM before), 1600000000000);
UPDATE t SET v = 'ahead again';
SELECT nuda_restamp((SELECT seq FROM before), 1500000000000);
--> sync
--> on b
UPDATE t SET v = 'later at b';
--> sync
--> on a
SELECT * FROM t;
