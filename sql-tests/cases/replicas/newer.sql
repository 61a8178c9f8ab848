--# portable
-- What a later version wrote is refused with a reason, and not remembered as seen.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
--> replica b of a
--> on a
INSERT INTO t VALUES ('a', 1);
SELECT nuda_apply(CAST(substr(changeset, 1, 4) || x'63' || substr(changeset, 6) AS BLOB)) FROM nuda_changes_since('') LIMIT 1;
SELECT nuda_apply(x'4E55444163');
SELECT nuda_apply(x'4E554442');
SELECT nuda_apply('text');
SELECT count(*) FROM nuda_waiting;
--> sync
