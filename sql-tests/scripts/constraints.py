"""Random writes on three replicas of tables with UNIQUE constraints, exchanged in random portions,
with collection, restarts and lost tails: all end equal, no constraint is broken where somebody
looks, and what is shown is what the definition says of all living rows.

Usage: constraints.py EXTENSION FIRST_SEED COUNT. Prints one line per seed; exits 1 at the first
seed that fails. A seed replays the decisions, not the clock.
"""
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile

from replica import collect, decoded, opened, value

FIRST, COUNT = int(sys.argv[2]), int(sys.argv[3])
NAMES = "abc"
TABLES = ["person", "seat"]
# Key columns, and the constraints besides: columns by position.
UNIQUE = {"person": (1, [(1,), (2,)]), "seat": (2, [(2, 3)])}


class Replicas:
    def __init__(self, folder):
        self.folder, self.open = folder, {}
        a = self.open["a"] = opened(self.path("a"), "recursive_triggers")
        a.execute("select nuda_init('p')")
        a.execute("select nuda_join('a')")
        a.execute("create table person(id text primary key, mail text unique collate nocase, "
                  "nick text, n counter, body textdoc)")
        a.execute("create unique index person_nick on person(nick)")
        a.execute("create table seat(hall int, place int, guest text, day int, v, "
                  "primary key(hall, place), unique(guest, day)) without rowid")
        # Derived by a trigger, from what is shown.
        a.execute("create table seen(id text primary key)")
        for event, row, what in [("insert", "new", "insert or ignore into seen values(new.id)"),
                                 ("delete", "old", "delete from seen where id = old.id")]:
            a.execute(f"create trigger person_{event} after {event} on person begin {what}; end")
        a.execute("insert into person values('p0', 'm0', 'n0', 3, 'body')")
        a.execute("select nuda_track('person', 'eventual', 'unique=keep_first')")
        a.execute("select nuda_track('seat', 'eventual', 'unique=keep_first,delete_wins')")
        a.execute("pragma wal_checkpoint(truncate)")
        for name in NAMES[1:]:
            shutil.copy(self.path("a"), self.path(name))
            self.open[name] = opened(self.path(name), "recursive_triggers")
            self.open[name].execute(f"select nuda_join('{name}')")
        for c in self.open.values():
            c.execute("select nuda_set_members(1, 'a,b,c')")

    def path(self, name):
        return f"{self.folder}/{name}.db"

    def every(self):
        return list(self.open.values())

    def restart(self, name):
        self.open[name].close()
        self.open[name] = opened(self.path(name), "recursive_triggers")


def statement(rnd, c):
    key, r = f"p{rnd.randrange(9)}", rnd.random()
    mail = rnd.choice([None, f"m{rnd.randrange(5)}", f"M{rnd.randrange(5)}"])
    nick = rnd.choice([None, f"n{rnd.randrange(5)}"])
    if r < 0.3:
        c.execute("insert or ignore into person values(?,?,?,?,?)",
                  (key, mail, nick, rnd.randrange(9), rnd.choice(["", "text"])))
    elif r < 0.36:
        c.execute("insert or replace into person values(?,?,?,?,?)", (key, mail, nick, 1, "again"))
    elif r < 0.46:
        c.execute("update or ignore person set mail=? where id=?", (mail, key))
    elif r < 0.56:
        c.execute("update or ignore person set nick=?, mail=mail || '' where id=?", (nick, key))
    elif r < 0.6:
        c.execute("update or replace person set nick=? where id=?", (nick, key))
    elif r < 0.66:
        c.execute("update person set n=n+1, body=body || ' more' where id=?", (key,))
    elif r < 0.76:
        c.execute("delete from person where id=?", (key,))
    elif r < 0.9:
        c.execute("insert or ignore into seat values(?,?,?,?,?)",
                  (rnd.randrange(2), rnd.randrange(4), rnd.choice("xyz"), rnd.randrange(2), 0))
    elif r < 0.96:
        c.execute("update or ignore seat set guest=?, v=v+1 where place=?",
                  (rnd.choice("xyz"), rnd.randrange(4)))
    else:
        c.execute("delete from seat where place=?", (rnd.randrange(4),))


def transaction(rnd, c, refused):
    if rnd.random() < 0.6:
        parts = 1
    else:
        parts = rnd.randrange(2, 5)
        c.execute("begin")
    try:
        for _ in range(parts):
            statement(rnd, c)
        if c.in_transaction:
            c.execute("commit" if rnd.random() < 0.9 else "rollback")
    except sqlite3.IntegrityError as error:
        # A value that a hidden row gets back next: nothing is written.
        assert "was hidden by" in str(error), error
        refused.append(1)
        if c.in_transaction:
            c.execute("rollback")


def ship(x, y, limit):
    vector = value(y, "select nuda_version_vector()")
    rows = x.execute("select changeset from nuda_changes_since(?)", (vector,)).fetchall()
    for (changeset,) in rows[:limit]:
        answer = json.loads(value(y, "select nuda_apply(?)", changeset))
        assert answer["status"] in ("applied", "duplicate", "waiting"), answer


def folded(value):
    return value.lower() if isinstance(value, str) and value[:1] in "mM" else value


def wrong(c):
    """Rows that are shown or hidden against the definition."""
    found = []
    for number, table in enumerate(TABLES, 1):
        keys, uniques = UNIQUE[table]
        births = {decoded(k): (stamp, site % 2**64, k) for k, stamp, site in c.execute(
            "select key, stamp, site from nuda_birth where number=?", (number,))}
        living = {row: True for row in c.execute(f"select * from {table}")}
        living.update({decoded(row): False for (row,) in c.execute(
            "select row from nuda_hidden where number=?", (number,))})
        taken = set()
        for row in sorted(living, key=lambda row: births[row[:keys]]):
            claims = {(u, *(folded(row[n]) for n in u)) for u in uniques
                      if all(row[n] is not None for n in u)}
            free = not claims & taken
            if free:
                taken |= claims
            if free != living[row]:
                found.append((table, row, living[row]))
    return found


def rows(c):
    # By which of several rows one is held back is a note, and may differ.
    hidden = "(select number, key, row from nuda_hidden)"
    return [sorted(c.execute(f"select * from {t}").fetchall(), key=repr)
            for t in [*TABLES, hidden, "seen"]]


def run(seed, folder):
    rnd = random.Random(seed)
    replicas, refused, hidden = Replicas(folder), [], 0
    for _ in range(250):
        transaction(rnd, rnd.choice(replicas.every()), refused)
        if rnd.random() < 0.35:
            x, y = rnd.sample(replicas.every(), 2)
            ship(x, y, rnd.choice([1, 2, 5, 100]))
            # Nothing may have been shipped.
            y.execute("select nuda_settle()")
            hidden = max(hidden, value(y, "select count(*) from nuda_hidden"))
            problems = wrong(y)
            assert not problems, (seed, problems)
        if rnd.random() < 0.1:
            collect(rnd, replicas)
        if rnd.random() < 0.03:
            replicas.restart(rnd.choice(NAMES))
        if rnd.random() < 0.02 and not any(
                value(c, "select count(*) from nuda_waiting") for c in replicas.every()):
            # What nobody has gets another site.
            name = rnd.choice(NAMES)
            c = replicas.open[name]
            site = value(c, "select nuda_site()")
            known = [value(o, "select nuda_version_vector()") for o in replicas.every() if o is not c]
            known = [int(seq) for v in known for s, seq in
                     (e.split(":") for e in v.split(",") if e) if s == site]
            c.execute("select nuda_new_site(?)", (max(known, default=0),))
    every = replicas.every()
    for _ in range(3):
        for x in every:
            for y in every:
                if x is not y:
                    ship(x, y, None)
    for c in every:
        c.execute("select nuda_settle()")
    collect(random.Random(0), replicas)
    vectors = {value(c, "select nuda_version_vector()") for c in every}
    assert len(vectors) == 1, vectors
    digests = [value(c, "select nuda_digest()") for c in every]
    found = [rows(c) for c in every]
    for content in found:
        assert content[3] == [(id,) for (id, *_) in content[0]], (seed, content[3], content[0])
    equal = all(d == digests[0] for d in digests) and all(f == found[0] for f in found)
    sound = all(value(c, "pragma integrity_check") == "ok" for c in every)
    problems = [p for c in every for p in wrong(c)]
    for c in every:
        c.close()
    print(f"seed {seed}: {'equal' if equal else 'DIFFERENT'}, {len(found[0][0])} and "
          f"{len(found[0][1])} rows, {len(found[0][2])} hidden in the end, at most {hidden}, "
          f"{len(refused)} refused", flush=True)
    if not equal or not sound or problems:
        print(problems)
        for name, content in zip(NAMES, found):
            print(name, content)
        sys.exit(1)


for number in range(FIRST, FIRST + COUNT):
    # In memory if possible: the disk is not what is tested.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as home:
        run(number, home)
