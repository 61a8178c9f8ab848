--# portable
-- User triggers run on a replica, so that tables of its own stay right; what they write to
-- replicated tables arrives as data and is not written twice.
CREATE TABLE doc(id TEXT PRIMARY KEY, body TEXT, edits COUNTER, note TEXT);
CREATE TABLE audit(id TEXT PRIMARY KEY, what TEXT);
CREATE TABLE local_only(n);
CREATE TRIGGER doc_ai AFTER INSERT ON doc BEGIN
  INSERT INTO audit VALUES (NEW.id || ' inserted', 'insert');
  INSERT INTO local_only VALUES ('insert ' || NEW.id);
END;
CREATE TRIGGER doc_au AFTER UPDATE OF body ON doc BEGIN
  UPDATE doc SET edits = edits + 1, note = 'was ' || OLD.body WHERE id = NEW.id;
  INSERT INTO local_only VALUES ('update ' || NEW.id);
END;
SELECT nuda_track('doc');
SELECT nuda_track('audit');
--> replica b of a
--> on a
INSERT INTO doc VALUES ('1', 'hello', 0, '');
UPDATE doc SET body = 'goodbye' WHERE id = '1';
SELECT * FROM doc;
--> ship a b
--> on b
SELECT * FROM doc;
SELECT * FROM audit;
SELECT * FROM local_only;
-- Local writes of that connection are captured as ever.
UPDATE doc SET body = 'again' WHERE id = '1';
--> sync
--> on a
SELECT * FROM doc;
