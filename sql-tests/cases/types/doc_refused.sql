--# portable
-- What is no document is refused, with the position or with advice; nothing is left behind.
CREATE TABLE t(id TEXT PRIMARY KEY, d DOC);
SELECT nuda_track('t');
INSERT INTO t VALUES ('x', '{"a":1}');
INSERT INTO t VALUES ('y', '{"a":1,}');
UPDATE t SET d = '{"a":tru}';
UPDATE t SET d = '{"a":1,"a":2}';
UPDATE t SET d = '{a:1}';
UPDATE t SET d = '';
UPDATE t SET d = '"text"';
UPDATE t SET d = 7;
UPDATE t SET d = 'null';
UPDATE t SET d = x'7b7d';
UPDATE t SET d = CAST(x'7b2261223a22ff227d' AS TEXT);
UPDATE t SET d = json_extract(d, '$.a');
-- Nested as deeply as a document may be, and deeper.
UPDATE t SET d = printf('%.250c', '[') || printf('%.250c', ']');
SELECT length(d) FROM t;
UPDATE t SET d = printf('%.251c', '[') || printf('%.251c', ']');
UPDATE t SET d = printf('%.10000c', '[') || printf('%.10000c', ']');
UPDATE t SET d = printf('%.10000c', '[');
SELECT length(d) FROM t;
UPDATE t SET d = '{"a":1}';
SELECT * FROM t;
-- What is there already is put in its form, or the table is not tracked.
CREATE TABLE there(id TEXT PRIMARY KEY, d DOC);
INSERT INTO there VALUES ('1', ' {"b": 1, "a": 2} ');
SELECT nuda_track('there');
SELECT d FROM there;
CREATE TABLE no(id TEXT PRIMARY KEY, d DOC);
INSERT INTO no VALUES ('1', '[1');
SELECT nuda_track('no');
CREATE TABLE checked(id TEXT PRIMARY KEY, d DOC CHECK (json_valid(d)));
SELECT nuda_track('checked');
CREATE TABLE keyed(id DOC PRIMARY KEY);
SELECT nuda_track('keyed');
CREATE TABLE narrow(id TEXT PRIMARY KEY, d BLOB) STRICT;
SELECT nuda_column('narrow', 'd', 'DOC');
SELECT nuda_track('narrow');
