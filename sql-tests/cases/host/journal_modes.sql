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
-- It stays a WAL file, open to the daemon and to other connections.
--> on a
PRAGMA journal_mode = DELETE;
PRAGMA main.journal_mode = 'truncate';
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA locking_mode = NORMAL;
PRAGMA journal_mode;
SELECT problems IS NULL FROM nuda_status;
-- A connection without the extension can change it; that shows, and nuda_init mends it.
CREATE TABLE t(id TEXT PRIMARY KEY);
SELECT nuda_track('t');
--> close a
--> open bare a.db bare
PRAGMA journal_mode = DELETE;
--> close bare
--> open a
SELECT problems FROM nuda_status;
SELECT length(nuda_init());
SELECT problems IS NULL FROM nuda_status;
INSERT INTO t VALUES ('x');
-- Ejected, it is any file again.
SELECT nuda_eject();
PRAGMA journal_mode = DELETE;
