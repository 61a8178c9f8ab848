--# portable
-- Once definitions go through the log, what the founder defines alone, in a file that was put back from before, is taken by nobody.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
--> replica b of a
--> twin old of a
--> on a
CREATE TABLE early(id TEXT PRIMARY KEY);
SELECT nuda_track('early');
SELECT nuda_hand_over();
INSERT INTO t VALUES ('1', 'a');
--> ship a b
--> on old
CREATE TABLE late(id TEXT PRIMARY KEY, v);
SELECT nuda_track('late');
INSERT INTO late VALUES ('x', 1);
INSERT INTO t VALUES ('2', 'after it');
--> ship old b
--> on b
SELECT DISTINCT reason FROM nuda_waiting;
SELECT number, name, version FROM nuda_table ORDER BY number;
SELECT * FROM t;
-- What it does not define alone is taken, as ever.
--> twin older of b
--> on older
SELECT nuda_join('a');
INSERT INTO t VALUES ('3', 'before it');
--> ship older b
--> on b
SELECT id FROM t ORDER BY id;
