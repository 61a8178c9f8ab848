--# portable
-- A file that was moved back does not serve a session that has seen more.
CREATE TABLE note(id TEXT PRIMARY KEY, body);
SELECT nuda_track('note');
INSERT INTO note VALUES ('1', 'first');
--> replica b of a
--> on b
PRAGMA wal_checkpoint(TRUNCATE);
--> copy b.db old.db
--> on a
INSERT INTO note VALUES ('2', 'second');
--> ship a b
--> open reader b.db
SELECT nuda_read_consistency('session');
SELECT count(*) FROM note;
--> continue reader a
--> close reader
--> close b
--> copy old.db b.db
--> open b
SELECT nuda_read_consistency('session'), nuda_timeout(20);
SELECT count(*) FROM note;
--> continue a b
--> on b
SELECT count(*) FROM note;
--> open applier b.db
--> ship a applier
--> on b
SELECT count(*) FROM note;
-- The file is taken back behind the connection's last write, as by a restore in place.
INSERT INTO note VALUES ('3', 'third');
--> on applier
DELETE FROM nuda_log WHERE id >> 48 = (SELECT site FROM nuda_state);
--> on b
SELECT count(*) FROM note;
SELECT json_extract(nuda_debug(), '$.refused_read');
