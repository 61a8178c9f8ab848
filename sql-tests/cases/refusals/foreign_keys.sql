--# portable
-- FOREIGN KEYs that cannot be kept between nodes, each with the reason and the way out.
PRAGMA foreign_keys = on;
CREATE TABLE parent(id TEXT PRIMARY KEY, n INT, tags ORSET, low INT GENERATED ALWAYS AS (n - 1) UNIQUE, mail TEXT UNIQUE);
CREATE TABLE child(id TEXT PRIMARY KEY, p TEXT REFERENCES parent(id));
SELECT nuda_track('child');
SELECT nuda_trackable('child');
CREATE TABLE lone(id TEXT PRIMARY KEY, p TEXT REFERENCES nobody(id));
SELECT nuda_track('lone');
-- A parent that is strong, or becomes so.
CREATE TABLE s_parent(id TEXT PRIMARY KEY);
CREATE TABLE s_child(id TEXT PRIMARY KEY, p TEXT REFERENCES s_parent(id));
SELECT nuda_track('s_parent', 'strong');
SELECT nuda_track('s_child');
SELECT nuda_track('s_child', 'strong', 'foreign_keys');
-- Columns that are merged, or are no key.
CREATE TABLE plain(id TEXT PRIMARY KEY, n INT, sum COUNTER UNIQUE);
SELECT nuda_track('plain', 'eventual', 'unique=keep_first');
CREATE TABLE by_n(id TEXT PRIMARY KEY, n INT REFERENCES plain(n));
SELECT nuda_track('by_n');
CREATE TABLE by_sum(id TEXT PRIMARY KEY, n INT REFERENCES plain(sum));
SELECT nuda_track('by_sum');
CREATE TABLE by_counter(id TEXT PRIMARY KEY, n COUNTER NOT NULL REFERENCES plain(id));
SELECT nuda_track('by_counter');
CREATE TABLE generated(id TEXT PRIMARY KEY, v, p TEXT GENERATED ALWAYS AS (v) STORED REFERENCES plain(id));
SELECT nuda_track('generated');
-- Rows that break it already, and an option that says nothing.
PRAGMA foreign_keys = off;
CREATE TABLE broken(id TEXT PRIMARY KEY, p TEXT REFERENCES plain(id));
INSERT INTO broken VALUES ('b', 'nothing');
SELECT nuda_track('broken', 'eventual', 'foreign_keys');
SELECT nuda_track('broken');
CREATE TABLE simple(id TEXT PRIMARY KEY);
SELECT nuda_track('simple', 'eventual', 'foreign_keys');
-- Tables that refer to each other: the second one closes the circle.
CREATE TABLE egg(id TEXT PRIMARY KEY, hen TEXT REFERENCES hen(id));
CREATE TABLE hen(id TEXT PRIMARY KEY, egg TEXT REFERENCES egg(id));
INSERT INTO egg VALUES ('f', NULL);
SELECT nuda_track('egg', 'eventual', 'foreign_keys');
INSERT INTO egg VALUES ('g', 'h');
SELECT nuda_track('hen', 'eventual', 'foreign_keys');
DELETE FROM egg WHERE hen = 'h';
SELECT nuda_track('hen', 'eventual', 'foreign_keys');
INSERT INTO egg VALUES ('g', 'h');
BEGIN;
INSERT INTO egg VALUES ('g', 'h');
INSERT INTO hen VALUES ('h', 'g');
COMMIT;
SELECT * FROM egg ORDER BY id;
SELECT nuda_untrack('egg'), nuda_untrack('hen');
-- A value in another form than the parent's.
CREATE TABLE number(id INTEGER PRIMARY KEY);
CREATE TABLE untyped(id TEXT PRIMARY KEY, n REFERENCES number);
SELECT nuda_track('number'), nuda_track('untyped', 'eventual', 'foreign_keys');
INSERT INTO number VALUES (1);
INSERT INTO untyped VALUES ('a', 1), ('b', 1.0);
INSERT INTO untyped VALUES ('c', '1');
-- Giving up the parent, adding a reference.
SELECT nuda_untrack('number');
ALTER TABLE untyped ADD COLUMN m INT REFERENCES number(id);
INSERT INTO untyped VALUES ('d', 1, NULL);
