--# portable
-- Changes travel through a third member; a delete reaches a file that never saw the insert's author.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
--> replica b of a
--> replica c of a
--> on a
INSERT INTO t VALUES ('x', 1), ('y', 2);
--> ship a b
--> on b
DELETE FROM t WHERE id = 'x';
--> ship b c
--> on c
SELECT * FROM t;
UPDATE t SET v = 3;
--> ship c a
--> on a
SELECT * FROM t;
--> sync
