--# portable
-- Nothing damaged is applied, and the sound changeset is taken afterwards.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
--> replica b of a
--> on a
INSERT INTO t VALUES ('a', 'some text that is long enough to be cut in many places'), ('b', 2);
UPDATE t SET v = 3 WHERE id = 'b';
--> ship a b truncated
--> ship a b flipped
--> on b
SELECT * FROM t;
--> ship a b
SELECT * FROM t ORDER BY id;
SELECT nuda_apply(x'');
SELECT nuda_apply('text');
SELECT nuda_apply(NULL);
SELECT nuda_apply(zeroblob(100));
