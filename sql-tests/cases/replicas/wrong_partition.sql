--# portable
-- A changeset of another partition is refused.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('a', 1);
--> open x
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
--> ship a x
SELECT count(*) FROM t;
