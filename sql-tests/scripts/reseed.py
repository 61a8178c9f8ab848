"""A member that was away while the log was collected: re-seeded from a donor, it loses nothing.

Run as: reseed.py EXTENSION. Exits with status 1 and says what differs, if anything does.
"""
import json
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

EXTENSION = sys.argv[1]


def connect(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.enable_load_extension(True)
    connection.load_extension(EXTENSION)
    return connection


def ask(connection, sql, *values):
    return connection.execute(sql, values).fetchone()[0]


def ship(source, target):
    vector = ask(target, "SELECT nuda_version_vector()")
    parts = source.execute("SELECT changeset FROM nuda_changes_since(?)", (vector,)).fetchall()
    return [json.loads(ask(target, "SELECT nuda_apply(?)", part))["status"] for (part,) in parts]


def main(folder):
    a = connect(folder / "a.db")
    ask(a, "SELECT nuda_init('p')")
    ask(a, "SELECT nuda_join('a')")
    a.execute("CREATE TABLE t(id TEXT PRIMARY KEY, v, n COUNTER)")
    a.execute("CREATE TABLE m(id TEXT PRIMARY KEY, hi MAXREG INT, lo MINREG INT, mv MVREG TEXT, "
              "tags ORSET)")
    a.execute("CREATE TABLE d(id TEXT PRIMARY KEY, body TEXTDOC)")
    a.execute("CREATE TABLE j(id TEXT PRIMARY KEY, doc DOC)")
    ask(a, "SELECT nuda_column('j', 'doc', 'DOC', '$.stock.* counter, $.lines key id')")
    ask(a, "SELECT nuda_track('t'), nuda_track('m'), nuda_track('d'), nuda_track('j')")
    a.execute("""INSERT INTO j VALUES
        ('1', '{"stock":{"apple":10},"title":"x","list":[1,2,3],"lines":[{"id":1,"n":1},{"id":2,"n":1}]}'),
        ('2', '{"a":{"b":1}}'), ('3', '{"gone":true}'), ('4', NULL)""")
    a.execute("INSERT INTO d VALUES ('1', 'one two three'), ('2', 'alone'), ('3', 'gone')")
    a.execute("INSERT INTO m VALUES ('1', 5, 5, 'old', '[\"x\",\"y\",\"z\"]'), ('2', 5, 5, 'old', NULL)")
    a.execute("INSERT INTO t VALUES ('1', 'x', 10), ('2', 'y', 20), ('3', 'z', 30), ('4', 'w', 40)")
    a.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(folder / "a.db", folder / "b.db")
    b = connect(folder / "b.db")
    ask(b, "SELECT nuda_join('b')")

    # b is away and writes; a writes, and drops its log as if b had it.
    for sql in (
        "UPDATE t SET n = n + 1 WHERE id = '1'",
        "INSERT INTO t VALUES ('b', 'new', 5)",
        "UPDATE t SET n = n + 2 WHERE id = 'b'",
        "UPDATE t SET n = n + 1 WHERE id = '4'",
        "UPDATE t SET n = n + 1 WHERE id = '4'",
        "DELETE FROM t WHERE id = '2'",
        # The last word of b counts, and meets what a has.
        "UPDATE m SET hi = 90, lo = 1, mv = 'first', tags = '[\"y\",\"z\",\"b\"]' WHERE id = '1'",
        "UPDATE m SET hi = 7, lo = 3, mv = 'B', tags = '[\"z\",\"b\",\"c\"]' WHERE id = '1'",
        "UPDATE m SET hi = 99, tags = '[1]' WHERE id = '2'",
        "INSERT INTO m VALUES ('3', 1, 1, 'b', '[2]')",
        "UPDATE d SET body = 'one and two three' WHERE id = '1'",
        "UPDATE d SET body = body || ', four' WHERE id = '1'",
        "UPDATE d SET body = 'not alone' WHERE id = '2'",
        "UPDATE d SET body = 'gone?' WHERE id = '3'",
        "INSERT INTO d VALUES ('4', 'from b'), ('5', 'b only')",
        "UPDATE d SET body = body || ', later' WHERE id IN ('4', '5')",
        "UPDATE j SET doc = json_set(doc, '$.stock.apple', 7, '$.list[#]', 4, '$.new', json('{\"b\":1}')) WHERE id = '1'",
        "UPDATE j SET doc = json_set(doc, '$.stock.apple', 6, '$.lines[1].n', 5) WHERE id = '1'",
        "UPDATE j SET doc = json_insert(doc, '$.lines[#]', json('{\"id\":3}')) WHERE id = '1'",
        "UPDATE j SET doc = json_remove(doc, '$.title') WHERE id = '1'",
        "UPDATE j SET doc = NULL WHERE id = '2'",
        "UPDATE j SET doc = json_set(doc, '$.kept', 1) WHERE id = '3'",
        "UPDATE j SET doc = '{\"b\":1}' WHERE id = '4'",
        "INSERT INTO j VALUES ('5', '{\"from\":\"b\",\"l\":[1]}'), ('6', '[1]')",
        "UPDATE j SET doc = json_set(doc, '$.later', 1) WHERE id = '5'",
    ):
        b.execute(sql)
    for sql in (
        "UPDATE t SET n = n + 100, v = 'A' WHERE id = '1'",
        "UPDATE t SET v = 'later' WHERE id = '3'",
        "DELETE FROM t WHERE id = '4'",
        "UPDATE m SET hi = 8, lo = 4, mv = 'A', tags = '[\"x\",\"y\",\"z\",\"a\"]' WHERE id = '1'",
        "INSERT INTO m VALUES ('3', 2, 2, 'a', '[3]')",
        "UPDATE d SET body = 'Zero, ' || body WHERE id = '1'",
        "DELETE FROM d WHERE id = '3'",
        "INSERT INTO d VALUES ('4', 'from a ')",
        "UPDATE j SET doc = json_set(doc, '$.stock.apple', 110, '$.list[#]', 5, '$.new', json('{\"a\":1}')) WHERE id = '1'",
        "UPDATE j SET doc = json_remove(doc, '$.lines[0]') WHERE id = '1'",
        "UPDATE j SET doc = json_set(doc, '$.a.c', 2) WHERE id = '2'",
        "DELETE FROM j WHERE id = '3'",
        "UPDATE j SET doc = '{\"a\":1}' WHERE id = '4'",
        "INSERT INTO j VALUES ('5', '{\"by\":\"a\",\"l\":[2]}')",
    ):
        a.execute(sql)
    ask(a, "SELECT nuda_collect(nuda_version_vector())")
    assert ship(b, a)[0] == "stale", "what cannot be merged any more must be refused"

    b.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(folder / "b.db", folder / "old.db")
    a.backup(b)
    ask(b, "SELECT nuda_join('b')")
    ask(b, "SELECT nuda_reissue(?)", str(folder / "old.db"))
    assert ship(b, a) == ["applied"]

    rows = a.execute("SELECT * FROM t ORDER BY id").fetchall()
    wanted = [("1", "A", 111), ("3", "later", 30), ("4", "w", 42), ("b", "new", 7)]
    assert rows == wanted, rows
    rows = a.execute("SELECT * FROM m ORDER BY id").fetchall()
    wanted = [("1", 8, 3, '["A","B"]', '["a","b","c","z"]'), ("2", 99, 5, "old", "[1]"),
              ("3", 2, 1, '["a","b"]', "[2,3]")]
    assert rows == wanted, rows
    rows = a.execute("SELECT body FROM d ORDER BY id").fetchall()
    wanted = ["Zero, one and two three, four", "not alone", "gone?", "from b, laterfrom a ",
              "b only, later"]
    assert [body for (body,) in rows] == wanted, rows
    docs = [json.loads(doc) for (doc,) in a.execute("SELECT doc FROM j ORDER BY id")]
    wanted = [
        {"stock": {"apple": 106}, "list": [1, 2, 3, 4, 5], "new": {"a": 1, "b": 1},
         "lines": [{"id": 2, "n": 5}, {"id": 3}]},
        {"a": {"b": 1, "c": 2}}, {"gone": True, "kept": 1}, {"a": 1, "b": 1},
        {"from": "b", "by": "a", "l": [2, 1], "later": 1}, [1],
    ]
    assert docs == wanted, docs
    assert ask(a, "SELECT nuda_digest()") == ask(b, "SELECT nuda_digest()")
    print("re-seeded without losing an increment, an element, a value, a row or a delete")


with tempfile.TemporaryDirectory() as name:
    main(Path(name))
