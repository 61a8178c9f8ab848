--# portable
-- WITHOUT ROWID, composite keys, generated columns, blobs, extreme numbers, triggers of the user.
CREATE TABLE w(k1 INT, k2 TEXT, v, PRIMARY KEY (k2, k1)) WITHOUT ROWID;
CREATE TABLE g(id TEXT PRIMARY KEY, x INT, twice INT GENERATED ALWAYS AS (x * 2) VIRTUAL, thrice INT AS (x * 3) STORED);
CREATE TABLE b(id BLOB PRIMARY KEY, v BLOB);
CREATE TABLE n(id INTEGER PRIMARY KEY, v);
SELECT nuda_track('w'), nuda_track('g'), nuda_track('b'), nuda_track('n');
INSERT INTO w VALUES (1, 'a', 'x'), (2, 'a', 'y');
UPDATE w SET v = 'z' WHERE k1 = 1;
INSERT INTO g(id, x) VALUES ('g', 5);
UPDATE g SET x = 6;
INSERT INTO b VALUES (x'00ff', zeroblob(100000)), (x'', x'');
INSERT INTO n VALUES (-9223372036854775808, 9223372036854775807), (9223372036854775807, -9223372036854775808);
INSERT INTO n VALUES (127, 128), (16383, 16384), (2147483647, 2147483648), (4294967295, 4294967296);
INSERT INTO n VALUES (0, 1e308), (1, -0.0), (2, 'text'), (3, NULL), (4, x'00'), (5, '');
SELECT "table", "key", columns FROM nuda_changes WHERE "table" IN ('w', 'g') ORDER BY seq, "key";
--> replica c of a
--> on a
UPDATE n SET v = v + 1 WHERE id BETWEEN 127 AND 4294967295;
UPDATE b SET v = zeroblob(200000) WHERE id = x'00ff';
UPDATE w SET v = 'last' WHERE k2 = 'a' AND k1 = 2;
DELETE FROM g;
--> sync
--> on c
SELECT k1, k2, v FROM w ORDER BY k1;
SELECT hex(id), length(v), typeof(v) FROM b ORDER BY id;
SELECT id, quote(v), typeof(v) FROM n WHERE id > 1 OR id < 0 ORDER BY id;
SELECT count(*) FROM g;
