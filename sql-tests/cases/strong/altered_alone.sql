-- In a file without a cluster nuda_exec changes replicated tables, and nothing else.
CREATE TABLE t(id TEXT PRIMARY KEY, a, b, g AS (a || 'g'));
CREATE TABLE mine(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('1', 'x', 'y');
SELECT nuda_exec('UPDATE t SET a = 1');
SELECT nuda_exec('ALTER TABLE mine ADD COLUMN w');
SELECT nuda_exec('ALTER TABLE t ADD COLUMN a');
SELECT nuda_exec('ALTER TABLE t DROP COLUMN id');
SELECT nuda_exec('ALTER TABLE t DROP COLUMN absent');
SELECT nuda_exec('ALTER TABLE t RENAME COLUMN g TO h');
SELECT nuda_exec('CREATE UNIQUE INDEX t_u ON t(a)');
SELECT nuda_exec('CREATE TABLE other(x)');
SELECT nuda_exec('ALTER TABLE t ADD COLUMN c; UPDATE t SET c = 1');
SELECT nuda_exec('ALTER TABLE t ADD COLUMN c, 1', 2);
SELECT nuda_exec('DROP INDEX t_x');
SELECT nuda_exec('DROP INDEX IF EXISTS t_x; DROP TABLE IF EXISTS nobody');
BEGIN;
SELECT nuda_exec('ALTER TABLE t ADD COLUMN c');
ROLLBACK;
-- Whole or not at all.
SELECT nuda_exec('ALTER TABLE t ADD COLUMN c; ALTER TABLE t DROP COLUMN absent');
SELECT version, columns FROM nuda_tables;
SELECT nuda_exec('/* why */ alter table "t" rename b to "b;b"; -- and so on
  Create Index If Not Exists main.t_a On t(a); CREATE INDEX IF NOT EXISTS t_a ON t(a);');
SELECT version, columns FROM nuda_tables;
INSERT INTO t VALUES ('2', 'x', 'z');
UPDATE t SET "b;b" = 'w' WHERE id = '1';
SELECT seq, change, columns FROM nuda_changes;
SELECT * FROM t;
-- What the plain form breaks says what to write instead.
ALTER TABLE t DROP COLUMN "b;b";
UPDATE t SET a = 2;
SELECT problems FROM nuda_status;
-- A strong table gets a UNIQUE index, and constraints on added columns, in order.
CREATE TABLE account(id TEXT PRIMARY KEY, iban TEXT);
SELECT nuda_track('account', 'strong');
INSERT INTO account VALUES ('a', '1'), ('b', '2');
SELECT nuda_exec('CREATE UNIQUE INDEX account_iban ON account(iban)');
SELECT nuda_exec('ALTER TABLE account ADD COLUMN balance INT DEFAULT 0 CHECK (balance >= 0)');
INSERT INTO account VALUES ('c', '2', 0);
INSERT OR REPLACE INTO account VALUES ('d', '2', 5);
UPDATE account SET balance = -1;
--> replica b of a
SELECT * FROM account ORDER BY id;
--> on a
SELECT nuda_exec('ALTER TABLE account RENAME COLUMN iban TO number');
UPDATE account SET number = CASE number WHEN '1' THEN '2' ELSE '1' END, balance = 1;
