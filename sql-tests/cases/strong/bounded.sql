-- Bounded reads in a file that is in no cluster: it is its own majority.
CREATE TABLE note(id TEXT PRIMARY KEY, body TEXT);
SELECT nuda_track('note');
PRAGMA nuda_read_consistency = bounded;
SELECT nuda_read_consistency(), nuda_max_staleness();
PRAGMA nuda_max_staleness = 250;
SELECT nuda_max_staleness('soon');
SELECT nuda_max_staleness(0);
INSERT INTO note VALUES ('a', 'x');
SELECT * FROM note;
BEGIN;
SELECT nuda_max_staleness(100);
ROLLBACK;
SELECT nuda_max_staleness(), nuda_read_consistency('eventual');
