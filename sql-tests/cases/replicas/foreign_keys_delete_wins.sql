--# portable
-- With delete_wins the child goes with its parent: it is held back, and returns with it.
PRAGMA foreign_keys = on;
CREATE TABLE project(id TEXT PRIMARY KEY, name);
CREATE TABLE task(id TEXT PRIMARY KEY, project TEXT REFERENCES project(id), title, n COUNTER);
CREATE TABLE note(id TEXT PRIMARY KEY, task TEXT REFERENCES task(id));
SELECT nuda_track('project', 'eventual', 'delete_wins'), nuda_track('task'), nuda_track('note');
INSERT INTO project VALUES ('p', 'one'), ('q', 'two');
INSERT INTO task VALUES ('t0', 'q', 'there', 0);
--> replica b of a
--> replica c of a
SELECT nuda_set_members(1, 'a,b,c');
--> on a
DELETE FROM project WHERE id = 'p';
--> on b
INSERT INTO task VALUES ('t1', 'p', 'new', 0);
INSERT INTO note VALUES ('n1', 't1');
--> ship b c
--> on c
UPDATE task SET n = n + 1, title = 'better' WHERE id = 't1';
INSERT INTO note VALUES ('n2', 't1');
--> sync
SELECT (SELECT count(*) FROM project), (SELECT count(*) FROM task), (SELECT count(*) FROM note);
SELECT "table", "key", "column", lost, reason FROM nuda_conflicts ORDER BY id;
PRAGMA foreign_key_check;
SELECT number, count(*) FROM nuda_hidden GROUP BY number;
SELECT "table", "key", columns, "by", reason FROM nuda_hidden_rows ORDER BY "table", "key";
-- Collected, and still there.
--> acknowledge a c
--> acknowledge b c
--> on c
SELECT json_extract(nuda_collect(), '$.dropped') > 0;
--> on c
INSERT INTO project VALUES ('p', 'again');
--> sync
SELECT * FROM task ORDER BY id;
SELECT * FROM note ORDER BY id;
--> on a
SELECT * FROM task ORDER BY id;
SELECT count(*) FROM nuda_hidden;
PRAGMA foreign_key_check;
-- What is hidden stays when the table is no longer replicated.
--> on a
DELETE FROM project WHERE id = 'q';
DELETE FROM task WHERE id = 't0';
DELETE FROM project WHERE id = 'q';
--> on b
INSERT INTO task VALUES ('t2', 'q', 'late', 0);
--> sync
SELECT count(*) FROM nuda_hidden;
--> on a
SELECT nuda_untrack('task');
SELECT nuda_untrack('note'), nuda_untrack('task'), nuda_untrack('project');
SELECT * FROM "task hidden rows";
