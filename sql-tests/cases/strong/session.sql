--# portable
-- Read level session: a read begins when the file has all that the session has seen or
-- written, on whichever replica it goes on.
CREATE TABLE note(id TEXT PRIMARY KEY, body);
SELECT nuda_track('note');
INSERT INTO note VALUES ('1', 'first');
--> replica b of a
--> on b
SELECT nuda_read_consistency('session'), nuda_timeout(50);
SELECT * FROM note;
--> on a
INSERT INTO note VALUES ('2', 'second'), ('3', 'third');
UPDATE note SET body = 'edited' WHERE id = '2';
SELECT nuda_session();
-- The token goes to b before the changes do.
--> continue a b
--> on b
SELECT * FROM note;
SELECT json_extract(nuda_debug(), '$.refused_read');
INSERT INTO note VALUES ('4', 'not yet');
SELECT nuda_session();
-- Half of it is not enough.
--> open applier b.db
PRAGMA busy_timeout = 1000;
--> ship a applier
--> on b
SELECT * FROM note ORDER BY id;
INSERT INTO note VALUES ('4', 'fourth');
SELECT * FROM note ORDER BY id;
SELECT nuda_session();
-- A state that is not there yet; what was handed over stays until the session ends.
SELECT nuda_session(replace(nuda_session(), ':4', ':9')) LIKE 'nuda1/%';
SELECT count(*) FROM note;
SELECT json_extract(nuda_debug(), '$.refused_read');
-- The level can be left, and then nothing waits.
PRAGMA nuda_read_consistency = eventual;
SELECT count(*) FROM note;
PRAGMA nuda_read_consistency = session;
SELECT count(*) FROM note;
--> close b
--> open b
SELECT nuda_read_consistency('session'), nuda_timeout(50);
SELECT count(*) FROM note;
-- Not inside a transaction, which has its state already.
BEGIN;
SELECT nuda_read_consistency('eventual');
SELECT nuda_session('nuda1/00000000000000000000000000000000//');
ROLLBACK;
-- What is no token, or none of this partition, is refused and changes nothing.
SELECT nuda_session('');
SELECT nuda_session(NULL);
SELECT nuda_session(rtrim(nuda_session(), '/'));
SELECT nuda_session(replace(nuda_session(), 'nuda1', 'nuda9'));
SELECT nuda_session('nuda1/00000000000000000000000000000000//');
SELECT count(*) FROM note;
-- Nothing more is taken of a site: what is missing of it will never come.
--> on a
INSERT INTO note VALUES ('5', 'lost');
--> on applier
UPDATE nuda_site SET stopped = 'given up'
  WHERE site <> (SELECT s.site FROM nuda_state t JOIN nuda_site s ON s.id = t.site);
--> continue a b
--> on b
SELECT count(*) FROM note;
