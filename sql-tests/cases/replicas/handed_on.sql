--# portable
-- What cannot be applied is kept whole and handed on; who can apply it does.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
--> replica b of a
--> replica c of a
--> on b
CREATE TABLE later(other);
--> on a
CREATE TABLE later(id TEXT PRIMARY KEY, n COUNTER);
SELECT nuda_track('later');
INSERT INTO later VALUES ('x', 1);
UPDATE later SET n = n + 1;
INSERT INTO t VALUES ('a', 'behind it');
--> ship a b
--> on b
SELECT seq, reason, seen IS NOT NULL FROM nuda_waiting;
SELECT nuda_waiting_vector() <> '', instr(nuda_waiting_vector(), ',');
-- It is no change of this file yet.
SELECT count(*) FROM nuda_changes WHERE "table" = 'later' OR "key" = 'a';
INSERT INTO t VALUES ('b', 'of b');
--> ship b c
--> on c
SELECT * FROM later;
SELECT * FROM t ORDER BY id;
-- Again, and backwards: it waits as it did.
--> ship a b reversed
--> on b
SELECT seq, seen IS NOT NULL FROM nuda_waiting;
SELECT nuda_retry();
DROP TABLE later;
SELECT nuda_retry();
SELECT nuda_retry();
SELECT * FROM later;
SELECT count(*), nuda_waiting_vector() FROM nuda_waiting;
--> sync
