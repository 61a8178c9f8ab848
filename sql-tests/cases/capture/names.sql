--# portable
-- Names with quotes, spaces, keywords and other alphabets; comment marks inside a default.
CREATE TABLE "or""der -- x"("gro""up" TEXT PRIMARY KEY, "select" DEFAULT '/* not a -- comment', [a b], `tick`);
CREATE TABLE Größe("länge" TEXT PRIMARY KEY, "значение", 値);
CREATE TABLE "semi;colon"("key" TEXT PRIMARY KEY, "new.x", "old.x");
SELECT nuda_track('or"der -- x'), nuda_track('Größe'), nuda_track('SEMI;colon');
INSERT INTO "or""der -- x"("gro""up", [a b]) VALUES ('it''s', 'q"q');
INSERT INTO Größe VALUES ('ä', 'ж', '漢字');
INSERT INTO "semi;colon" VALUES ('k', 1, 2);
UPDATE "semi;colon" SET "new.x" = 5;
UPDATE Größe SET 値 = '漢' WHERE "länge" = 'ä';
--> replica b of a
--> on a
DELETE FROM "semi;colon";
UPDATE "or""der -- x" SET `tick` = 't''t';
INSERT INTO Größe VALUES ('ö', NULL, '');
--> sync
--> on b
SELECT "table", change, "key", columns FROM nuda_changes ORDER BY seq DESC LIMIT 3;
SELECT * FROM "or""der -- x";
SELECT * FROM Größe ORDER BY 1;
SELECT count(*) FROM "semi;colon";
