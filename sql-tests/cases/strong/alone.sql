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
-- Level strong covers eventual tables, too; at level eventual a strong table decides for its transaction.
INSERT INTO note VALUES ('m', 'y');
SELECT nuda_last_commit() ->> 'level';
SELECT nuda_write_consistency('eventual');
BEGIN;
INSERT INTO note VALUES ('o', 'z');
UPDATE account SET balance = balance - 1 WHERE id = 'a';
COMMIT;
SELECT nuda_last_commit() ->> 'level';
-- Of a large transaction some is numbered before its end. A strong table that comes too late:
CREATE TABLE large(id INTEGER PRIMARY KEY, body TEXT);
SELECT nuda_track('large');
BEGIN;
INSERT INTO large SELECT value, printf('%.*c', 100000, 'x') FROM json_each(json_array(1,2,3,4,5,6,7,8,9,10,
  11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45));
UPDATE account SET balance = balance - 1 WHERE id = 'a';
COMMIT;
SELECT count(*) FROM large;
-- First, or at level strong, it is in time.
BEGIN;
UPDATE account SET balance = balance - 1 WHERE id = 'a';
INSERT INTO large SELECT value, printf('%.*c', 100000, 'x') FROM json_each(json_array(1,2,3,4,5,6,7,8,9,10,
  11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45));
COMMIT;
SELECT nuda_last_commit() ->> 'level', (SELECT count(*) FROM large);
SELECT nuda_write_consistency('strong');
BEGIN;
UPDATE large SET body = body || 'y';
UPDATE account SET balance = balance - 1 WHERE id = 'a';
COMMIT;
SELECT nuda_last_commit() ->> 'level', length(body) FROM large WHERE id = 1;
SELECT nuda_write_consistency('eventual');
SELECT count(*) FROM note;
-- What cannot be kept is refused, and nothing stays of it.
PRAGMA synchronous = NORMAL;
UPDATE account SET balance = 0;
SELECT * FROM account ORDER BY id;
PRAGMA synchronous = FULL;
UPDATE account SET balance = 92 WHERE id = 'a';
