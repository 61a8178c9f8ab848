--# portable
-- What is written after something was seen bears a greater stamp, however far behind the own clock is.
CREATE TABLE t(id TEXT PRIMARY KEY, v);
SELECT nuda_track('t');
INSERT INTO t VALUES ('1', 'first');
--> replica b of a
--> on b
UPDATE t SET v = 'b';
--> sync
--> on a
-- As if b's clock were an hour ahead.
UPDATE nuda_site SET stamp = stamp + (3600000 << 16)
  WHERE applied > 0 AND id <> (SELECT site FROM nuda_state);
SELECT stamp_ms = (SELECT max(stamp) >> 16 FROM nuda_site) AS is_seen FROM nuda_status;
UPDATE t SET v = 'a';
SELECT nuda_stamp_ms() >= (SELECT max(stamp) >> 16 FROM nuda_site) AS is_later;
