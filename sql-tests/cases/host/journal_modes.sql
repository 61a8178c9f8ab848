-- A replica is a WAL file: nuda_init makes it one where it can, and says why where it cannot.
PRAGMA journal_mode;
BEGIN;
SELECT nuda_init();
COMMIT;
PRAGMA journal_mode;
SELECT nuda_init('bad name');
SELECT length(nuda_init('org42'));
PRAGMA journal_mode;
SELECT name, node, founder FROM nuda_status;
--> open m :memory:
SELECT nuda_init();
SELECT nuda_version() <> '';
