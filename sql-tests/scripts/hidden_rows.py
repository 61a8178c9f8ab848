"""Hidden rows across what happens to a file: a re-seed, added columns, untracking, ejecting.

Run as: hidden_rows.py EXTENSION. Fails where something differs.
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
    for (part,) in source.execute("SELECT changeset FROM nuda_changes_since(?)", (vector,)).fetchall():
        answer = json.loads(ask(target, "SELECT nuda_apply(?)", part))
        assert answer["status"] in ("applied", "duplicate"), answer


def shown(connection):
    return [id for (id,) in connection.execute("SELECT id FROM person ORDER BY id")]


def equal(a, b):
    ship(a, b)
    ship(b, a)
    for connection in (a, b):
        ask(connection, "SELECT nuda_settle()")
    everything = "SELECT * FROM person ORDER BY id"
    assert a.execute(everything).fetchall() == b.execute(everything).fetchall()
    assert ask(a, "SELECT nuda_digest()") == ask(b, "SELECT nuda_digest()")


def snapshot(source, path):
    source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(source.execute("PRAGMA database_list").fetchone()[2], path)


def main(folder):
    a = connect(folder / "a.db")
    ask(a, "SELECT nuda_init('p')")
    ask(a, "SELECT nuda_join('a')")
    a.execute("CREATE TABLE person(id TEXT PRIMARY KEY, mail TEXT UNIQUE, n COUNTER)")
    ask(a, "SELECT nuda_track('person', 'eventual', 'unique=keep_first')")
    a.execute("INSERT INTO person VALUES ('old', 'old', 0)")
    snapshot(a, folder / "b.db")
    b = connect(folder / "b.db")
    ask(b, "SELECT nuda_join('b')")

    # Both go on alone; b then begins anew from a's file, and makes again what only it had: rows
    # whose values are taken there.
    a.execute("INSERT INTO person VALUES ('a1', 'x', 1), ('a2', 'y', 1)")
    b.execute("INSERT INTO person VALUES ('b1', 'x', 7), ('b2', 'free', 7)")
    b.execute("UPDATE person SET mail = 'y', n = n + 2 WHERE id = 'b2'")
    b.execute("UPDATE person SET n = n + 3 WHERE id = 'b1'")
    b.execute("UPDATE person SET mail = 'new' WHERE id = 'old'")
    snapshot(b, folder / "aside.db")
    b.close()
    snapshot(a, folder / "c.db")
    b = connect(folder / "c.db")
    ask(b, "SELECT nuda_join('b')")
    ask(b, "SELECT nuda_reissue(?)", str(folder / "aside.db"))
    equal(a, b)
    assert shown(a) == ["a1", "a2", "old"], shown(a)
    a.execute("DELETE FROM person WHERE id IN ('a1', 'a2')")
    equal(a, b)
    assert a.execute("SELECT id, mail, n FROM person ORDER BY id").fetchall() == [
        ("b1", "x", 10), ("b2", "y", 9), ("old", "new", 0)]

    # A hidden row gets the columns that its table gets.
    b.execute("INSERT INTO person VALUES ('z1', 'z', 0)")
    a.execute("INSERT INTO person VALUES ('z2', 'z', 0)")
    equal(a, b)
    a.execute("ALTER TABLE person ADD COLUMN note TEXT NOT NULL DEFAULT 'none'")
    ask(a, "SELECT nuda_propose()")
    equal(a, b)
    b.execute("UPDATE person SET mail = 'free' WHERE id IN ('z1', 'z2')")
    equal(a, b)
    notes = a.execute("SELECT id, note FROM person WHERE id LIKE 'z%' ORDER BY id").fetchall()
    assert notes == [("z1", "none"), ("z2", "none")], notes

    # Births go with the images of deleted rows.
    a.execute("DELETE FROM person WHERE id = 'z1'")
    equal(a, b)
    for connection, other in ((a, "b"), (b, "a")):
        ask(connection, "SELECT nuda_set_members(1, 'a,b')")
        ask(connection, "SELECT nuda_acknowledge(?, nuda_version_vector())", other)
        ask(connection, "SELECT nuda_collect()")
        assert ask(connection, "SELECT count(*) FROM nuda_birth") == len(shown(connection))

    # What is hidden when replication ends stays in a table beside.
    b.execute("INSERT INTO person VALUES ('e1', 'e', 0, '')")
    a.execute("INSERT INTO person VALUES ('e2', 'e', 0, '')")
    equal(a, b)
    hidden = ({"e1", "e2"} - set(shown(a))).pop()
    assert '"person hidden rows"' in ask(b, "SELECT nuda_eject()")
    answer = ask(a, "SELECT nuda_untrack('person')")
    assert '"person hidden rows"' in answer, answer
    for connection in (a, b):
        aside = connection.execute('SELECT id, mail, n, note FROM "person hidden rows"').fetchall()
        assert aside == [(hidden, "e", 0, "")], aside
    left = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'nuda%'"
    assert ask(b, left) == 0
    print("hidden rows: as they should be")


with tempfile.TemporaryDirectory() as temporary:
    main(Path(temporary))
