"""A member that was away while the log was collected: re-seeded from a donor, it loses nothing.

Run as: reseed.py EXTENSION. Exits with status 1 and says what differs, if anything does.
"""
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path

from replica import opened, value as ask


def founded(folder):
    a = opened(folder / "a.db")
    ask(a, "SELECT nuda_init('p')")
    ask(a, "SELECT nuda_join('a')")
    return a


def copied(folder, a):
    a.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(folder / "a.db", folder / "b.db")
    b = opened(folder / "b.db")
    ask(b, "SELECT nuda_join('b')")
    return b


def ship(source, target):
    vector = ask(target, "SELECT nuda_version_vector()")
    parts = source.execute("SELECT changeset FROM nuda_changes_since(?)", (vector,)).fetchall()
    return [json.loads(ask(target, "SELECT nuda_apply(?)", part))["status"] for (part,) in parts]


def main(folder):
    a = founded(folder)
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
    b = copied(folder, a)

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
    reseed(folder, a, b)

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
    print("re-seeded without losing an increment, an element, a value, a row or a delete")


def reseed(folder, a, b):
    """b is stale for a, and begins again from it with what only it had."""
    ask(a, "SELECT nuda_collect(nuda_version_vector())")
    assert ship(b, a)[0] == "stale", "what cannot be merged any more must be refused"
    b.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(folder / "b.db", folder / "old.db")
    a.backup(b)
    ask(b, "SELECT nuda_join('b')")
    ask(b, "SELECT nuda_reissue(?)", str(folder / "old.db"))
    assert ship(b, a) == ["applied"]
    for connection in (a, b):
        ask(connection, "SELECT nuda_settle()")
    ship(a, b)
    assert ask(a, "SELECT nuda_digest()") == ask(b, "SELECT nuda_digest()")


def two_ways(folder):
    """A backup that was put back unnoticed: both ways in which its site went on count, and what
    another node wrote is that node's to send."""
    a = founded(folder)
    a.execute("CREATE TABLE t(id TEXT PRIMARY KEY, n COUNTER)")
    ask(a, "SELECT nuda_track('t')")
    a.execute("INSERT INTO t VALUES ('1', 0)")
    b = copied(folder, a)
    shutil.copy(folder / "a.db", folder / "c.db")
    c = opened(folder / "c.db")
    ask(c, "SELECT nuda_join('c')")
    c.execute("UPDATE t SET n = n + 10000")
    b.execute("UPDATE t SET n = n + 1")
    backup = sqlite3.connect(folder / "backup.db")
    b.backup(backup)
    b.execute("UPDATE t SET n = n + 10")
    assert ship(b, a) == ["applied", "applied"]
    backup.backup(b)
    b.execute("UPDATE t SET n = n + 100")
    # A copy goes on under another site.
    b.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    b.close()
    shutil.copy(folder / "b.db", folder / "moved.db")
    (folder / "moved.db").rename(folder / "b.db")
    b = opened(folder / "b.db")
    b.execute("UPDATE t SET n = n + 1000")
    ship(c, b)
    sites = "SELECT count(DISTINCT site) FROM nuda_changes"
    assert ask(b, sites) == 4, b.execute("SELECT site, seq FROM nuda_changes").fetchall()
    b.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(folder / "b.db", folder / "old.db")
    a.backup(b)
    ask(b, "SELECT nuda_join('b')")
    ask(b, "SELECT nuda_reissue(?)", str(folder / "old.db"))
    ship(b, a)
    assert ask(a, "SELECT n FROM t") == 1111, ask(a, "SELECT n FROM t")
    ship(c, a)
    ship(c, b)
    assert ask(a, "SELECT n FROM t") == 11111, ask(a, "SELECT n FROM t")
    assert ask(a, "SELECT nuda_digest()") == ask(b, "SELECT nuda_digest()")


def references(folder):
    """Rows that refer to others: those that lost their parent meanwhile are held back, not lost."""
    a = founded(folder)
    a.execute("CREATE TABLE project(id TEXT PRIMARY KEY, name)")
    a.execute("CREATE TABLE task(id TEXT PRIMARY KEY, project REFERENCES project(id), n COUNTER)")
    ask(a, "SELECT nuda_track('project', 'eventual', 'delete_wins')")
    ask(a, "SELECT nuda_track('task', 'eventual', 'foreign_keys')")
    a.execute("INSERT INTO project VALUES ('p', 1), ('q', 1), ('r', 1), ('s', 1), ('u', 1)")
    a.execute("INSERT INTO task VALUES ('t0', 'q', 0), ('t1', 'r', 0), ('t2', 'u', 0)")
    b = copied(folder, a)

    b.execute("INSERT INTO task VALUES ('hidden there', 's', 5)")
    b.execute("UPDATE task SET n = n + 1 WHERE id = 't1'")
    b.execute("UPDATE task SET n = n + 3, project = 's' WHERE id = 't2'")
    a.execute("DELETE FROM project WHERE id = 's'")
    ship(a, b)
    assert ask(b, "SELECT count(*) FROM task WHERE id = 'hidden there'") == 0
    b.execute("INSERT INTO task VALUES ('orphan here', 'p', 7), ('stays', 'q', 8)")
    b.execute("UPDATE task SET n = n + 10, project = 'p' WHERE id = 't0'")
    a.execute("DELETE FROM project WHERE id = 'p'")
    # What b has edited and hides is deleted here.
    a.execute("DELETE FROM task WHERE id = 't2'")
    a.execute("UPDATE task SET n = n + 100")
    reseed(folder, a, b)
    shown = "SELECT id, project, n FROM task ORDER BY id"
    rows = a.execute(shown).fetchall()
    assert rows == b.execute(shown).fetchall() == [("stays", "q", 8), ("t1", "r", 101)], rows
    hidden = "SELECT \"key\" FROM nuda_hidden_rows ORDER BY \"key\""
    wanted = [("hidden there",), ("orphan here",), ("t0",), ("t2",)]
    for connection in (a, b):
        assert connection.execute(hidden).fetchall() == wanted, connection.execute(hidden).fetchall()
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []

    # Their parents come back, and so do they.
    b.execute("INSERT INTO project VALUES ('p', 2), ('s', 2)")
    ask(b, "SELECT nuda_settle()")
    ship(b, a)
    wanted = [("hidden there", "s", 5), ("orphan here", "p", 7), ("stays", "q", 8),
              ("t0", "p", 110), ("t1", "r", 101), ("t2", "s", 3)]
    for connection in (a, b):
        rows = connection.execute(shown).fetchall()
        assert rows == wanted, rows
    print("re-seeded with rows whose parents had gone")


def renamed(folder):
    """The table was renamed, and its columns renamed, dropped and added, while b was away."""
    a = founded(folder)
    a.execute("CREATE TABLE t(id TEXT PRIMARY KEY, old, gone, n COUNTER, body TEXTDOC)")
    a.execute("CREATE TABLE u(id TEXT PRIMARY KEY, v, mail TEXT UNIQUE, gone)")
    ask(a, "SELECT nuda_track('t')")
    ask(a, "SELECT nuda_track('u', 'eventual', 'unique=keep_first')")
    a.execute("INSERT INTO t VALUES ('1', 'x', 'g', 1, 'one'), ('2', 'y', 'g', 2, 'two')")
    b = copied(folder, a)

    b.execute("UPDATE t SET old = 'b', gone = 'b', n = n + 10, body = body || ' b' WHERE id = '1'")
    b.execute("INSERT INTO t VALUES ('3', 'new', 'g', 3, 'three')")
    b.execute("DELETE FROM t WHERE id = '2'")
    b.execute("INSERT INTO u VALUES ('b', 'vb', 'm', 'g')")
    ask(a, "SELECT nuda_exec('ALTER TABLE t RENAME COLUMN old TO new')")
    ask(a, "SELECT nuda_exec('ALTER TABLE t RENAME TO tt; ALTER TABLE tt DROP COLUMN gone')")
    ask(a, "SELECT nuda_exec('ALTER TABLE tt ADD COLUMN fresh INT NOT NULL DEFAULT 5')")
    ask(a, "SELECT nuda_exec('ALTER TABLE u DROP COLUMN gone; ALTER TABLE u RENAME TO uu')")
    a.execute("UPDATE tt SET n = n + 100, body = 'a ' || body WHERE id = '1'")
    a.execute("INSERT INTO uu VALUES ('a', 'va', 'm')")
    reseed(folder, a, b)
    everything = "SELECT * FROM tt ORDER BY id"
    rows = a.execute(everything).fetchall()
    wanted = [("1", "b", 111, "a one b", 5), ("3", "new", 3, "three", 5)]
    assert rows == b.execute(everything).fetchall() == wanted, rows
    people = "SELECT id, v FROM uu UNION ALL SELECT h.\"key\", json_extract(h.row, '$.v') FROM nuda_hidden_rows h"
    rows = sorted(a.execute(people).fetchall())
    assert rows == sorted(b.execute(people).fetchall()) == [("a", "va"), ("b", "vb")], rows
    print("re-seeded across renamed, dropped and added columns")


for scenario in (main, two_ways, references, renamed):
    with tempfile.TemporaryDirectory() as name:
        scenario(Path(name))
