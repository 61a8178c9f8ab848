-- The shell's switches: defensive changes nothing, triggers switched off are noticed.
CREATE TABLE t(id INTEGER PRIMARY KEY, v);
.dbconfig defensive on
SELECT nuda_track('t', 'eventual', 'site_ranges');
INSERT INTO t(v) VALUES ('a');
CREATE INDEX t_v ON t(v);
ALTER TABLE t ADD COLUMN w;
INSERT INTO t(v, w) VALUES ('b', 'c');
SELECT version FROM nuda_tables;
.dbconfig enable_trigger off
SELECT problems FROM nuda_status;
SELECT json_extract(nuda_debug(), '$.problems') IS NOT NULL;
.dbconfig enable_trigger on
SELECT problems IS NULL FROM nuda_status;
SELECT nuda_eject();
SELECT count(*) FROM t;
