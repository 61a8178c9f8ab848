--# portable
-- The same as pragmas. Each answers a row, so that it can be told from one that nobody knows.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
PRAGMA nuda_write_consistency;
PRAGMA nuda_read_consistency;
PRAGMA nuda_write_consistency = eventual;
PRAGMA nuda_write_consistency = strong;
PRAGMA nuda_read_consistency = session;
PRAGMA nuda_write_consistency;
PRAGMA nuda_timeout = 1500;
PRAGMA nuda_timeout = -1;
PRAGMA nuda_no_such_pragma;
