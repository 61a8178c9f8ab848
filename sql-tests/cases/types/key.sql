--# portable
-- Keys are registers.
CREATE TABLE t7(id COUNTER PRIMARY KEY, v);
SELECT nuda_track('t7');
CREATE TABLE t8(id ORSET PRIMARY KEY, v);
SELECT nuda_track('t8');
SELECT count(*) FROM nuda_tables;
