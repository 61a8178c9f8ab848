-- Quorum writes in a file that is in no cluster: its own disk is the majority.
CREATE TABLE note(id TEXT PRIMARY KEY, body TEXT, n COUNTER);
CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER);
SELECT nuda_track('note'), nuda_track('account', 'strong');
PRAGMA nuda_write_consistency = quorum;
SELECT nuda_write_consistency('quorum');
INSERT INTO note VALUES ('a', 'x', 1);
SELECT nuda_last_commit() ->> 'level', nuda_last_commit() ->> 'position',
  nuda_last_commit() ->> 'acks', nuda_last_commit() ->> 'of';
UPDATE note SET n = n + 1;
-- Numbered in the site's lane, one after the other; a rollback takes no number.
BEGIN; UPDATE note SET n = n + 1; ROLLBACK;
BEGIN; UPDATE note SET n = n + 1; SAVEPOINT s; UPDATE note SET n = n + 10; ROLLBACK TO s; COMMIT;
SELECT count(DISTINCT site), group_concat(seq) FROM nuda_changes
  WHERE "table" = 'note' AND site <> nuda_site();
SELECT * FROM note;
-- A strong table makes it a strong transaction.
INSERT INTO account VALUES ('a', 1);
SELECT nuda_last_commit() ->> 'level', nuda_last_commit() ->> 'position';
-- Not inside a transaction; and only what the disk keeps.
BEGIN;
SELECT nuda_write_consistency('eventual');
ROLLBACK;
PRAGMA synchronous = NORMAL;
UPDATE note SET n = n + 100;
SELECT n FROM note;
SELECT nuda_write_consistency('eventual');
UPDATE note SET n = n + 100;
SELECT nuda_last_commit(), n FROM note;
