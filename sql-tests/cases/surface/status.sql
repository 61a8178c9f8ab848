--# portable
-- What can be asked.
SELECT * FROM nuda_status;
SELECT nuda_init('org42') <> '';
CREATE TABLE t(id TEXT PRIMARY KEY, v, n COUNTER);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1, 2);
SELECT name, node, vector, waiting, log_records, log_bytes > 0, conflicts FROM nuda_status;
SELECT * FROM nuda_tables;
SELECT nuda_site(), nuda_version_vector();
SELECT site, seq, at_ms, author, "table", change, "key", columns FROM nuda_changes;
SELECT seq, part, last, typeof(changeset) FROM nuda_changes_since('');
SELECT count(*) FROM nuda_changes_since(nuda_version_vector());
SELECT count(*) FROM nuda_changes(nuda_version_vector());
SELECT count(*) FROM nuda_changes_since('nonsense');
SELECT * FROM nuda_peers;
SELECT json_valid(nuda_debug()), json_extract(nuda_debug(), '$.tracked_tables');
SELECT json_valid(nuda_digest());
