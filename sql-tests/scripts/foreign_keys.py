"""Random writes on three replicas of tables that refer to each other, exchanged in random portions,
with collection, restarts and lost tails: all end equal, no FOREIGN KEY is ever broken where
somebody looks, and what is shown is what the definition says of all living rows.

Every second seed plays another game: rows are only inserted, edited and deleted, none moves to
another parent. There no row may be missing that nobody deleted who had seen it.

Usage: foreign_keys.py EXTENSION FIRST_SEED COUNT. Prints one line per seed; exits 1 at the first
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
SCHEMA = """
create table org(id text primary key, name, n counter);
create table team(id text primary key, org text references org on delete cascade on update cascade,
  lead text references member(id) on delete set null, title);
create table member(id text primary key, team text not null references team(id) on delete cascade,
  boss text references member(id), mail text unique collate nocase);
create table letter(id text primary key, mail text collate nocase
  references member(mail) on delete cascade on update cascade);
create table seat(hall int, place int, v, primary key(hall, place)) without rowid;
create table booking(id text primary key, hall int, place int, org text references org(id),
  foreign key(place, hall) references seat(place, hall) on delete cascade on update cascade);
"""
# Options, key columns, unique columns, and references: columns, table, columns.
TABLES = {
    "org": ("", 1, [], []),
    "team": ("", 1, [], [((1,), "org", (0,)), ((2,), "member", (0,))]),
    "member": ("unique=keep_first", 1, [(3,)],
               [((1,), "team", (0,)), ((2,), "member", (0,))]),
    "letter": ("", 1, [], [((1,), "member", (3,))]),
    "seat": ("delete_wins", 2, [], []),
    "booking": ("", 1, [], [((1, 2), "seat", (0, 1)), ((3,), "org", (0,))]),
}


class Replicas:
    def __init__(self, folder, rnd):
        self.folder, self.open = folder, {}
        a = self.open["a"] = opened(self.path("a"), "foreign_keys")
        a.execute("select nuda_init('p')")
        a.execute("select nuda_join('a')")
        a.executescript(SCHEMA)
        a.execute("insert into org values('o0', 'first', 1)")
        a.execute("insert into seat values(0, 0, 'x')")
        a.execute("insert into booking values('b0', 0, 0, 'o0')")
        # Team and member refer to each other: any of them may come first, org before both.
        order = list(TABLES) if rnd.random() < 0.5 else \
            ["seat", "org", "member", "team", "booking", "letter"]
        for table in order:
            a.execute("select nuda_track(?, 'eventual', ?)", (table, TABLES[table][0]))
        self.numbers = dict(a.execute("select name, number from nuda_tables"))
        a.execute("pragma wal_checkpoint(truncate)")
        for name in NAMES[1:]:
            shutil.copy(self.path("a"), self.path(name))
            self.open[name] = opened(self.path(name), "foreign_keys")
            self.open[name].execute(f"select nuda_join('{name}')")
        for c in self.open.values():
            c.execute("select nuda_set_members(1, 'a,b,c')")

    def path(self, name):
        return f"{self.folder}/{name}.db"

    def every(self):
        return list(self.open.values())

    def restart(self, name):
        self.open[name].close()
        self.open[name] = opened(self.path(name), "foreign_keys")


def statement(rnd, c):
    pick = lambda letter, n=6: f"{letter}{rnd.randrange(n)}"
    some = lambda letter, n=6: rnd.choice([None, pick(letter, n), pick(letter, n)])
    # Mostly keys that are there: else SQLite refuses nearly everything.
    there = lambda table, letter: rnd.choice(
        [id for (id,) in c.execute(f"select id from {table}")] or [pick(letter)])
    mail = rnd.choice([None, pick("m", 5), pick("M", 5)])
    verb = rnd.choice(["insert or ignore", "insert or replace", "insert"])
    r = rnd.randrange(100)
    if r < 10:
        c.execute(f"{verb} into org values(?,?,?)", (pick("o"), "x", rnd.randrange(5)))
    elif r < 22:
        c.execute(f"{verb} into team values(?,?,?,?)",
                  (pick("t"), rnd.choice([None, there("org", "o")]), None, "x"))
    elif r < 36:
        c.execute(f"{verb} into member values(?,?,?,?)",
                  (pick("p", 9), there("team", "t"), rnd.choice([None, there("member", "p")]), mail))
    elif r < 42:
        c.execute("insert or ignore into letter values(?, (select mail from member "
                  "where mail is not null order by random() limit 1))", (pick("l"),))
    elif r < 47:
        c.execute(f"{verb} into seat values(?,?,?)", (rnd.randrange(2), rnd.randrange(3), "y"))
    elif r < 54:
        c.execute("insert or ignore into booking select ?, hall, place, ? from seat "
                  "order by random() limit 1", (pick("b"), rnd.choice([None, there("org", "o")])))
    elif r < 58:
        c.execute("update org set n = n + 1 where id=?", (pick("o"),))
    elif r < 62:
        c.execute("update team set title = title || 'y' where id=?", (pick("t"),))
    elif r < 66:
        c.execute("update team set org=? where id=?", (there("org", "o"), pick("t")))
    elif r < 70:
        c.execute("update team set lead=? where id=?", (there("member", "p"), pick("t")))
    elif r < 74:
        c.execute("update or ignore member set mail=? where id=?", (mail, pick("p", 9)))
    elif r < 77:
        c.execute("update member set boss=?, team=? where id=?",
                  (there("member", "p"), there("team", "t"), pick("p", 9)))
    elif r < 79:
        c.execute("update or ignore org set id=? where id=?", (pick("o"), pick("o")))
    elif r < 81:
        c.execute("update or ignore seat set place=? where place=?",
                  (rnd.randrange(3), rnd.randrange(3)))
    elif r < 85:
        c.execute("delete from org where id=?", (pick("o"),))
    elif r < 89:
        c.execute("delete from team where id=?", (pick("t"),))
    elif r < 94:
        c.execute("update member set boss = null where boss=?", (some("p", 9),))
        c.execute("delete from member where id=?", (pick("p", 9),))
    elif r < 97:
        c.execute("delete from seat where place=?", (rnd.randrange(3),))
    else:
        c.execute("delete from booking where id=?", (pick("b"),))


def transaction(rnd, c, refused):
    enforced = rnd.random() < 0.8
    c.execute(f"pragma foreign_keys = {'on' if enforced else 'off'}")
    parts = 1 if rnd.random() < 0.6 else rnd.randrange(2, 5)
    if parts > 1:
        c.execute("begin")
        c.execute(f"pragma defer_foreign_keys = {rnd.randrange(2)}")
    for _ in range(parts):
        try:
            statement(rnd, c)
        except sqlite3.IntegrityError as error:
            refused.append(str(error))
            if not c.in_transaction:
                break
    if c.in_transaction:
        try:
            c.execute("commit" if rnd.random() < 0.9 else "rollback")
        except sqlite3.IntegrityError as error:
            refused.append(str(error))
            if c.in_transaction:
                c.execute("rollback")
    c.execute("pragma foreign_keys = on")


def ship(x, y, limit):
    vector = value(y, "select nuda_version_vector()")
    rows = x.execute("select changeset from nuda_changes_since(?)", (vector,)).fetchall()
    for (changeset,) in rows[:limit]:
        answer = json.loads(value(y, "select nuda_apply(?)", changeset))
        assert answer["status"] in ("applied", "duplicate", "waiting"), answer
        if random.random() < 0.05:
            json.loads(value(y, "select nuda_apply(?)", changeset))


def folded(row, columns):
    """Mails are equal whatever their case; nothing else here has capital letters."""
    values = tuple(row[n] for n in columns)
    if None in values:
        return None
    return tuple(v.lower() if isinstance(v, str) else v for v in values)


def wrong(c, numbers):
    """Rows that are shown or hidden against the definition."""
    living, free = {}, {}
    for table, (_, keys, uniques, _) in TABLES.items():
        living[table] = {row: True for row in c.execute(f"select * from {table}")}
        living[table].update({decoded(row): False for (row,) in c.execute(
            "select row from nuda_hidden where number=?", (numbers[table],))})
        free[table] = set(living[table])
        if uniques:
            births = {decoded(k): (stamp, site % 2**64, k) for k, stamp, site in c.execute(
                "select key, stamp, site from nuda_birth where number=?", (numbers[table],))}
            taken = set()
            for row in sorted(living[table], key=lambda row: births[row[:keys]]):
                claims = {(u, folded(row, u)) for u in uniques} - {(u, None) for u in uniques}
                if claims & taken:
                    free[table].discard(row)
                else:
                    taken |= claims
    while True:
        lost = [(table, row) for table, (_, _, _, references) in TABLES.items()
                for row in free[table] for columns, parent, targets in references
                if folded(row, columns) is not None and folded(row, columns) not in
                {folded(other, targets) for other in free[parent]}]
        if not lost:
            break
        for table, row in lost:
            free[table].discard(row)
    found = [(table, row, shown) for table in TABLES for row, shown in living[table].items()
             if shown != (row in free[table])]
    return found + c.execute("pragma foreign_key_check").fetchall()


def rows(c):
    # For what a row is held back is a note, and may differ.
    hidden = "(select number, key, row from nuda_hidden)"
    return [sorted(c.execute(f"select * from {t}").fetchall(), key=repr) for t in [*TABLES, hidden]]


def new_site(rnd, replicas):
    """What nobody has gets another site."""
    if any(value(c, "select count(*) from nuda_waiting") for c in replicas.every()):
        return
    c = replicas.open[rnd.choice(NAMES)]
    site = value(c, "select nuda_site()")
    known = [value(o, "select nuda_version_vector()") for o in replicas.every() if o is not c]
    known = [int(seq) for v in known for s, seq in
             (e.split(":") for e in v.split(",") if e) if s == site]
    c.execute("select nuda_new_site(?)", (max(known, default=0),))


class Tree:
    """The other game: who inserted what, and what was deleted by somebody who saw it."""

    def __init__(self):
        self.made, self.deleted = {}, set()

    def step(self, rnd, c):
        new, r = f"k{len(self.made)}", rnd.random()
        ids = lambda table: [id for (id,) in c.execute(f"select id from {table}")]
        before = {(t, id) for t in ("org", "team", "member") for id in ids(t)}
        # A booking refers to the first one, and forbids to delete it.
        orgs, teams, members = [id for id in ids("org") if id != "o0"], ids("team"), ids("member")
        if r < 0.1 or not orgs:
            self.made[new] = "org"
            c.execute("insert into org values(?,'x',0)", (new,))
        elif r < 0.3 or not teams:
            self.made[new] = "team"
            c.execute("insert into team values(?,?,null,'x')", (new, rnd.choice(orgs)))
        elif r < 0.6 or not members:
            self.made[new] = "member"
            c.execute("insert into member values(?,?,null,null)", (new, rnd.choice(teams)))
        elif r < 0.75:
            c.execute("update team set title = title || 'y' where id=?", (rnd.choice(teams),))
        elif r < 0.8:
            c.execute("update org set n = n + 1 where id=?", (rnd.choice(orgs),))
        elif r < 0.9:
            c.execute("delete from org where id=?", (rnd.choice(orgs),))
        else:
            c.execute("delete from team where id=?", (rnd.choice(teams),))
        self.deleted |= before - {(t, id) for t in ("org", "team", "member") for id in ids(t)}

    def missing(self, c):
        return [(table, id) for id, table in self.made.items() if (table, id) not in self.deleted
                and not value(c, f"select count(*) from {table} where id=?", id)]


def run(seed, folder):
    rnd = random.Random(seed)
    random.seed(seed)
    replicas, refused, hidden = Replicas(folder, rnd), [], 0
    tree = Tree() if seed % 2 else None
    for _ in range(120):
        c = rnd.choice(replicas.every())
        if tree:
            tree.step(rnd, c)
        else:
            transaction(rnd, c, refused)
            assert not c.execute("pragma foreign_key_check").fetchall(), (seed, refused[-3:])
        if rnd.random() < 0.35:
            x, y = rnd.sample(replicas.every(), 2)
            ship(x, y, rnd.choice([1, 2, 5, 100]))
            # Nothing may have been shipped.
            y.execute("select nuda_settle()")
            hidden = max(hidden, value(y, "select count(*) from nuda_hidden"))
            problems = wrong(y, replicas.numbers)
            assert not problems, (seed, problems)
        if rnd.random() < 0.1:
            collect(rnd, replicas)
        if rnd.random() < 0.03:
            replicas.restart(rnd.choice(NAMES))
        if rnd.random() < 0.02:
            new_site(rnd, replicas)
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
    equal = all(d == digests[0] for d in digests) and all(f == found[0] for f in found)
    sound = all(value(c, "pragma integrity_check") == "ok" for c in every)
    problems = [p for c in every for p in wrong(c, replicas.numbers)]
    if tree:
        problems += tree.missing(every[0])
    for c in every:
        c.close()
    print(f"seed {seed}: {'equal' if equal else 'DIFFERENT'}, {sum(map(len, found[0][:-1]))} rows, "
          f"{len(found[0][-1])} hidden in the end, at most {hidden}, {len(refused)} refused",
          flush=True)
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
