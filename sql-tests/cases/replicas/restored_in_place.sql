--# portable
-- A replica whose site wrote two different changesets of one number (restored in place from a
-- backup): its unshipped one moves to a new site, and both survive.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('1', 'before');
--> replica b of a
--> on a
INSERT INTO t VALUES ('2', 'unshipped'), ('3', 'unshipped');
UPDATE t SET v = 'edited' WHERE id = '2';
SELECT nuda_new_site(2);
SELECT nuda_new_site(99);
--> sync
SELECT * FROM t ORDER BY id;
SELECT count(DISTINCT site) FROM nuda_changes_since('');
