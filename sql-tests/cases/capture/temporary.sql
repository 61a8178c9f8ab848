--# portable
-- Temporary tables are not captured; what copies from them is. Asking inside a transaction is fine.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
CREATE TEMP TABLE scratch(id TEXT PRIMARY KEY, v);
INSERT INTO scratch VALUES ('s', 1);
INSERT INTO t SELECT * FROM scratch;
SELECT count(*) FROM nuda_changes;
BEGIN;
INSERT INTO t VALUES ('in a transaction', 1);
SELECT nuda_track('t');
SELECT nuda_version_vector() = nuda_version_vector();
COMMIT;
SELECT count(*) FROM nuda_changes;
