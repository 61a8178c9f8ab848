--# portable
-- Types that the design names and that are not built yet are refused by name, never taken for LWW.
CREATE TABLE t5(id TEXT PRIMARY KEY, v DOC);
SELECT nuda_track('t5');
CREATE TABLE t7(id COUNTER PRIMARY KEY, v);
SELECT nuda_track('t7');
CREATE TABLE t8(id ORSET PRIMARY KEY, v);
SELECT nuda_track('t8');
SELECT count(*) FROM nuda_tables;
