--# portable
-- Types that the design names and that are not built yet are refused by name, never taken for LWW.
CREATE TABLE t1(id TEXT PRIMARY KEY, v MAXREG INTEGER);
SELECT nuda_track('t1');
CREATE TABLE t2(id TEXT PRIMARY KEY, v minreg);
SELECT nuda_track('t2');
CREATE TABLE t3(id TEXT PRIMARY KEY, v MVREG TEXT);
SELECT nuda_track('t3');
CREATE TABLE t4(id TEXT PRIMARY KEY, v ORSET);
SELECT nuda_track('t4');
CREATE TABLE t5(id TEXT PRIMARY KEY, v DOC);
SELECT nuda_track('t5');
CREATE TABLE t6(id TEXT PRIMARY KEY, v TEXTDOC);
SELECT nuda_track('t6');
CREATE TABLE t7(id COUNTER PRIMARY KEY, v);
SELECT nuda_track('t7');
SELECT count(*) FROM nuda_tables;
