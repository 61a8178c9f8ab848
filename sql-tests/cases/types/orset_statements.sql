-- Every way of writing a row gives a set its one form, and ships what changed.
CREATE TABLE "my items"("the key" TEXT, part INT, "the tags" ORSET NOT NULL DEFAULT '[]', note TEXT, PRIMARY KEY ("the key", part)) WITHOUT ROWID;
CREATE TABLE audit(what TEXT);
CREATE TRIGGER noted AFTER UPDATE OF "the tags" ON "my items" BEGIN INSERT INTO audit VALUES (OLD."the tags" || ' to ' || NEW."the tags"); END;
SELECT nuda_track('my items');
PRAGMA recursive_triggers = on;
INSERT INTO "my items" VALUES ('k', 1, '["b" ,"a"]', 'one') ON CONFLICT DO UPDATE SET "the tags" = excluded."the tags";
INSERT INTO "my items" VALUES ('k', 1, '["c" ,"a"]', 'two') ON CONFLICT DO UPDATE SET "the tags" = excluded."the tags";
INSERT INTO "my items"("the key", part) VALUES ('k', 2);
SELECT * FROM "my items";
SELECT * FROM audit;
REPLACE INTO "my items" VALUES ('k', 2, '["z", "y"]', 'replaced');
UPDATE "my items" SET part = 3, "the tags" = '["moved",  "y"]' WHERE part = 2;
SELECT * FROM "my items";
BEGIN;
UPDATE "my items" SET "the tags" = '["x", "a"]' WHERE part = 1;
SAVEPOINT s;
UPDATE "my items" SET "the tags" = '["w", "a"]' WHERE part = 1;
ROLLBACK TO s;
UPDATE "my items" SET "the tags" = '["x", "v"]' WHERE part = 1;
COMMIT;
SELECT changes(), total_changes() > 0;
SELECT seq, change, "key", columns FROM nuda_changes;
--> replica b of a
--> on a
UPDATE "my items" SET "the tags" = '["x", "from a"]' WHERE part = 1;
--> on b
UPDATE "my items" SET "the tags" = '["v", "from b"]' WHERE part = 1;
UPDATE "my items" SET note = 'b' WHERE part = 3;
--> sync
SELECT * FROM "my items";
SELECT * FROM audit;
-- A program without the extension is told what to load.
--> close b
--> open b b.db bare
UPDATE "my items" SET "the tags" = '[]';
-- A counter and a set added without a default.
--> on a
ALTER TABLE "my items" ADD COLUMN n COUNTER;
ALTER TABLE "my items" ADD COLUMN more ORSET;
UPDATE "my items" SET note = 'first' WHERE part = 3;
UPDATE "my items" SET n = 4, more = '["q", "p"]' WHERE part = 1;
--> close b
--> open b
--> sync
SELECT part, n, more FROM "my items";
-- Without NUDA the table is what it was.
SELECT nuda_eject();
SELECT type, name FROM sqlite_schema WHERE type <> 'index';
UPDATE "my items" SET "the tags" = 'anything';
SELECT count(*) FROM "my items" WHERE "the tags" = 'anything';
