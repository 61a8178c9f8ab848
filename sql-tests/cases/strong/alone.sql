-- A file that is in no cluster is its own majority: strong tables work without a daemon.
CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER);
CREATE TABLE note(id TEXT PRIMARY KEY, body);
SELECT nuda_track('account', 'strong'), nuda_track('note');
SELECT name, kind FROM nuda_tables ORDER BY number;
INSERT INTO account VALUES ('a', 100), ('b', 0);
BEGIN IMMEDIATE;
UPDATE account SET balance = balance - 10 WHERE id = 'a';
UPDATE account SET balance = balance + 10 WHERE id = 'b';
COMMIT;
SELECT * FROM account ORDER BY id;
SELECT nuda_last_commit() ->> 'level', nuda_last_commit() ->> 'position',
  nuda_last_commit() ->> 'acks', nuda_last_commit() ->> 'of';
SELECT site, seq, "table", change FROM nuda_changes WHERE site = 'log.strong';
-- An eventual write goes its own way.
INSERT INTO note VALUES ('n', 'x');
SELECT nuda_last_commit();
-- A rollback takes no position.
BEGIN; UPDATE account SET balance = 0; ROLLBACK;
BEGIN; SAVEPOINT s; UPDATE account SET balance = 0; ROLLBACK TO s; COMMIT;
UPDATE account SET balance = 91 WHERE id = 'a';
SELECT nuda_last_commit() ->> 'position';
-- The levels, shown and set; not inside a transaction.
SELECT nuda_write_consistency('strong'), nuda_read_consistency('strong'), nuda_timeout(500);
PRAGMA nuda_timeout;
BEGIN;
SELECT nuda_write_consistency('eventual');
ROLLBACK;
SELECT nuda_timeout('soon');
SELECT nuda_txn_status('nonsense');
-- What cannot be kept is refused, and nothing stays of it.
INSERT INTO note VALUES ('m', 'y');
SELECT nuda_write_consistency('eventual');
BEGIN;
INSERT INTO note VALUES ('m', 'y');
UPDATE account SET balance = 0;
COMMIT;
SELECT count(*) FROM note;
PRAGMA synchronous = NORMAL;
UPDATE account SET balance = 0;
SELECT * FROM account ORDER BY id;
PRAGMA synchronous = FULL;
UPDATE account SET balance = 92 WHERE id = 'a';
