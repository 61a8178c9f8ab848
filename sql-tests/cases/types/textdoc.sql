--# portable
-- TEXTDOC: a text; what an UPDATE did is read off the old and the new one, and all edits are kept.
CREATE TABLE note(id TEXT PRIMARY KEY, body TEXTDOC, title TEXT);
SELECT nuda_track('note');
INSERT INTO note VALUES ('n', 'The colour of the sky.', ''), ('none', NULL, ''), ('empty', '', '');
--> replica b of a
--> replica c of a
--> on a
UPDATE note SET body = replace(body, 'colour', 'color') WHERE id = 'n';
--> on b
UPDATE note SET body = body || ' The end.' WHERE id = 'n';
--> on c
UPDATE note SET body = 'Behold! ' || body WHERE id = 'n';
UPDATE note SET body = 'typed' WHERE id = 'empty';
--> sync
--> on a
SELECT * FROM note ORDER BY id;
SELECT typeof(body) FROM note ORDER BY id;
-- What two delete is deleted once; what both type is never mixed.
UPDATE note SET body = 'abcdef' WHERE id = 'empty';
--> sync
--> on b
UPDATE note SET body = 'aef' WHERE id = 'empty';
--> on c
UPDATE note SET body = 'abf' WHERE id = 'empty';
--> sync
SELECT body FROM note WHERE id = 'empty';
-- Several edits in one transaction are one.
--> on a
BEGIN;
UPDATE note SET body = body || ' one' WHERE id = 'n';
SAVEPOINT s;
UPDATE note SET body = 'gone' WHERE id = 'n';
ROLLBACK TO s;
UPDATE note SET body = body || ' two', title = 'T' WHERE id = 'n';
DELETE FROM note WHERE id = 'empty';
INSERT INTO note VALUES ('empty', 'a-f', 'replaced');
COMMIT;
--> on b
BEGIN;
UPDATE note SET body = replace(body, 'sky', 'sea') WHERE id = 'n';
INSERT OR REPLACE INTO note VALUES ('empty', 'af!', 'replaced by b');
COMMIT;
--> sync
SELECT id, body FROM note WHERE id IN ('n', 'empty') ORDER BY id;
-- NULL is no text: it stays only if nobody left one.
--> on a
UPDATE note SET body = NULL WHERE id = 'n';
UPDATE note SET body = 'first' WHERE id = 'none';
--> on b
UPDATE note SET body = body || ' More.' WHERE id = 'n';
UPDATE note SET body = 'first' WHERE id = 'none';
--> on c
UPDATE note SET body = 'second ' WHERE id = 'none';
--> sync
SELECT id, body FROM note WHERE id IN ('n', 'none') ORDER BY id;
UPDATE note SET body = NULL;
--> sync
--> on b
SELECT count(*) FROM note WHERE body IS NULL;
-- A row deleted by one and edited by another is alive with both edits; a re-inserted one begins anew, and
-- keeps what was typed into it meanwhile.
UPDATE note SET body = 'one two three' WHERE id = 'n';
--> sync
--> on a
UPDATE note SET body = 'one 2 three' WHERE id = 'n';
DELETE FROM note WHERE id = 'n';
--> on b
UPDATE note SET body = 'one two three four' WHERE id = 'n';
--> sync
SELECT body FROM note WHERE id = 'n';
--> on a
DELETE FROM note WHERE id = 'n';
INSERT INTO note VALUES ('n', 'new', '');
--> on b
UPDATE note SET body = body || ' five' WHERE id = 'n';
--> sync
SELECT body FROM note WHERE id = 'n';
-- Two inserts of one key: identical texts count once, others are both kept.
--> on a
INSERT INTO note VALUES ('same', 'Untitled', ''), ('other', 'from a', '');
--> on b
INSERT INTO note VALUES ('same', 'Untitled', ''), ('other', 'from b', '');
UPDATE note SET body = body || '!' WHERE id = 'same';
--> sync
SELECT id, body FROM note WHERE id IN ('same', 'other') ORDER BY id;
-- What is no text is refused.
INSERT INTO note VALUES ('x', x'00ff', '');
UPDATE note SET body = CAST(x'61ff' AS TEXT) WHERE id = 'same';
SELECT count(*) FROM nuda_conflicts WHERE "column" = 'body';
SELECT nuda_digest() IS NOT NULL;
-- Where somebody else owns the declaration.
--> on a
CREATE TABLE s(id TEXT PRIMARY KEY, body TEXT) STRICT;
SELECT nuda_column('s', 'body', 'TEXTDOC');
SELECT nuda_track('s');
INSERT INTO s VALUES ('1', 'x');
UPDATE s SET body = body || 'y';
CREATE TABLE narrow(id TEXT PRIMARY KEY, body BLOB) STRICT;
SELECT nuda_column('narrow', 'body', 'TEXTDOC');
SELECT nuda_track('narrow');
CREATE TABLE checked(id TEXT PRIMARY KEY, body TEXTDOC CHECK (length(body) < 9));
SELECT nuda_track('checked');
