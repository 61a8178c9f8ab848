--# portable
-- A row that was deleted twice comes back as the later delete found it, also where the clock is
-- ahead of both deletes, and where the first delete's site became known after the other's.
CREATE TABLE t(id TEXT PRIMARY KEY, n COUNTER, tags ORSET, body TEXTDOC);
SELECT nuda_track('t');
INSERT INTO t VALUES ('k', 3, '["first"]', 'first');
--> replica b of a
--> replica c of a
--> on b
DELETE FROM t WHERE id = 'k';
--> ship b a
--> on a
INSERT INTO t VALUES ('k', 10, '["second"]', 'second');
--> ship a b
--> on a
DELETE FROM t WHERE id = 'k';
--> on b
UPDATE t SET n = n + 5, tags = '["second","third"]', body = 'second, third' WHERE id = 'k';
--> later
--> on c
INSERT INTO t VALUES ('of c', 0, NULL, NULL);
--> ship a c
--> close c
--> open c
--> ship b c
SELECT * FROM t ORDER BY id;
--> sync
SELECT * FROM t ORDER BY id;
