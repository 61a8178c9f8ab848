"""Random writes on three replicas, exchanged in random portions, with collection: all end equal,
and nothing that was acknowledged is missing unless somebody took it away knowingly.

Usage: convergence.py EXTENSION FIRST_SEED COUNT [strong]. Prints one line per seed; exits 1 at the
first seed after which replicas differ or a write is missing. A seed replays the decisions, not the
clock. With `strong` some transactions are strong, each at a replica that has all of them: the files
are in no cluster then, and this script keeps the order and vouches for what all have.
"""
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile

EXTENSION, FIRST, COUNT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
STRONG = "strong" in sys.argv[4:]
NAMES = "abc"
# A document that can be accounted for: keys, counters, a list of scalars, named rows.
EMPTY = '{"k":{},"n":{"x":0,"y":0},"list":[],"rows":[]}'


def opened(path):
    c = sqlite3.connect(path, isolation_level=None)
    c.enable_load_extension(True)
    c.load_extension(EXTENSION)
    return c


def value(c, sql, *args):
    return c.execute(sql, args).fetchone()[0]


def cluster(folder):
    a = opened(f"{folder}/a.db")
    a.execute("select nuda_init('p')")
    if not STRONG:
        a.execute("select nuda_join('a')")
    a.execute("create table t(id text primary key, x, y, n counter, hi maxreg integer, "
              "lo minreg text, mv mvreg text, tags orset, body textdoc, doc doc)")
    a.execute("create table u(k1 int, k2 text, v text, body textdoc, doc doc, primary key(k1, k2)) "
              "without rowid")
    # Rows of w are never deleted: what was written to them can be accounted for.
    a.execute("create table w(id text primary key, n counter, hi maxreg integer, lo minreg integer, "
              "mv mvreg integer, tags orset, body textdoc, doc doc)")
    a.execute("select nuda_column('w', 'doc', 'DOC', '$.n.* counter, $.rows key id')")
    a.execute("select nuda_column('t', 'doc', 'DOC', '$.a counter, $.*.* counter')")
    a.execute("select nuda_track('t'), nuda_track('w')")
    a.execute("select nuda_track('u', 'eventual', 'delete_wins')")
    # Rows of i have invented keys, and are never deleted either.
    a.execute("create table i(id integer primary key, v text not null)")
    a.execute("select nuda_track('i', 'eventual', 'site_ranges')")
    a.execute("insert into t(id, x, n) values('k0', 1, 3)")
    a.execute("insert into w(id, n, doc) values('w0', 0, ?), ('w1', 0, ?)", (EMPTY, EMPTY))
    a.execute("pragma wal_checkpoint(truncate)")
    replicas = {"a": a}
    for name in NAMES[1:]:
        shutil.copy(f"{folder}/a.db", f"{folder}/{name}.db")
        replicas[name] = opened(f"{folder}/{name}.db")
        if not STRONG:
            replicas[name].execute(f"select nuda_join('{name}')")
    for c in () if STRONG else replicas.values():
        c.execute("select nuda_set_members(1, 'a,b,c')")
    return replicas


def some(rnd):
    """A set in any order and spelling, or no set."""
    if rnd.random() < 0.1:
        return None
    return "[" + " ,".join(f'"{e}"' for e in rnd.choices("abcdefg", k=rnd.randrange(6))) + "]"


def typed(rnd, text):
    """What a person makes of a text."""
    words = (text or "").split(" ")
    at = rnd.randrange(len(words))
    what = rnd.random()
    if what < 0.05:
        return None
    if what < 0.5:
        words.insert(at, rnd.choice(["red", "green", "blü\u0301", "\U0001d11e", "", "x\ny"]))
    elif what < 0.8:
        del words[at:at + rnd.randrange(1, 3)]
    else:
        words[at] = rnd.choice(["one", "two"])
    return " ".join(words)


def value_of(rnd, depth=0):
    """Any JSON value."""
    what = rnd.random()
    if depth > 2 or what < 0.5:
        return rnd.choice([None, True, 1, 2, 3, 1.5, "x", "y", "\u00fc"])
    if what < 0.75:
        return [value_of(rnd, depth + 1) for _ in range(rnd.randrange(4))]
    return {rnd.choice("abc"): value_of(rnd, depth + 1) for _ in range(rnd.randrange(4))}


def document(rnd):
    """Any document, in any spelling, or none."""
    if rnd.random() < 0.1:
        return None
    made = [value_of(rnd, 1)] if rnd.random() < 0.3 else {k: value_of(rnd) for k in rnd.sample("cab", 2)}
    return json.dumps(made, indent=rnd.choice([None, 1]), ensure_ascii=rnd.random() < 0.5)


def rewritten(rnd, text):
    """What an application makes of a document: a change somewhere, and all of it written anew."""
    if text is None or rnd.random() < 0.1:
        return document(rnd)
    top = json.loads(text)
    at = top
    while True:
        inner = [e for e in (at.values() if isinstance(at, dict) else at) if isinstance(e, (dict, list))]
        if not inner or rnd.random() < 0.4:
            break
        at = rnd.choice(inner)
    if isinstance(at, dict):
        if at and rnd.random() < 0.3:
            del at[rnd.choice(sorted(at))]
        else:
            at[rnd.choice("abcd")] = value_of(rnd, 1)
    elif at and rnd.random() < 0.4:
        del at[rnd.randrange(len(at))]
    elif at and rnd.random() < 0.5:
        at[rnd.randrange(len(at))] = value_of(rnd, 1)
    else:
        at.insert(rnd.randrange(len(at) + 1), value_of(rnd, 1))
    return json.dumps(top, indent=rnd.choice([None, 2]), ensure_ascii=rnd.random() < 0.5)


class Documents:
    """What was acknowledged of the documents of w, and how to look for it."""

    def __init__(self):
        self.keys, self.sums, self.elements, self.named = {}, {}, {}, {}

    def write(self, rnd, c, row, number):
        doc = json.loads(value(c, "select doc from w where id=?", row))
        what = rnd.choice(["key", "key", "gone", "n", "n", "list", "list", "less", "row", "row", "inside"])
        new = f"{number}"
        if what == "key":
            # Some are in an object that others may be making as well.
            place = doc["k"].setdefault("deep", {}) if rnd.random() < 0.5 else doc["k"]
            place[new] = number
            self.keys.setdefault(row, {})[new] = True
        elif what == "gone":
            for place in (doc["k"], doc["k"].get("deep", {})):
                gone = [k for k in place if k != "deep" and rnd.random() < 0.2]
                for k in gone:
                    del place[k]
                    self.keys[row][k] = False
        elif what == "n":
            name, by = rnd.choice("xy"), rnd.randrange(-9, 10)
            doc["n"][name] += by
            self.sums[row, name] = self.sums.get((row, name), 0) + by
        elif what == "list":
            doc["list"].insert(rnd.randrange(len(doc["list"]) + 1), number)
            self.elements.setdefault(row, {})[number] = True
        elif what == "less" and doc["list"]:
            self.elements[row][doc["list"].pop(rnd.randrange(len(doc["list"])))] = False
        elif what == "row":
            doc["rows"].insert(rnd.randrange(len(doc["rows"]) + 1), {"id": number})
            self.named.setdefault(row, {})[number] = set()
        elif what == "inside" and doc["rows"]:
            line = rnd.choice(doc["rows"])
            line[f"f{number}"] = number
            self.named[row][line["id"]].add(f"f{number}")
        if rnd.random() < 0.5 and what in ("key", "n"):
            # By plain SQL functions, where an application would.
            place = "$.n" if what == "n" else "$.k"
            c.execute("update w set doc=json_set(doc, ?, json(?)) where id=?",
                      (place, json.dumps(doc[place[2:]]), row))
        else:
            c.execute("update w set doc=? where id=?", (json.dumps(doc, indent=rnd.choice([None, 1])), row))

    def missing(self, row, text):
        doc = json.loads(text)
        found = {k for k in doc["k"] if k != "deep"} | set(doc["k"].get("deep", {}))
        wanted = {k for k, there in self.keys.get(row, {}).items() if there}
        wrong = [(row, "key", k) for k in found ^ wanted]
        wrong += [(row, "n", name, doc["n"][name], self.sums.get((row, name), 0)) for name in "xy"
                  if doc["n"][name] != self.sums.get((row, name), 0)]
        wanted = sorted(e for e, there in self.elements.get(row, {}).items() if there)
        if sorted(doc["list"]) != wanted:
            wrong.append((row, "list", sorted(doc["list"]), wanted))
        lines = {line["id"]: set(line) - {"id"} for line in doc["rows"]}
        if lines != self.named.get(row, {}) or len(lines) != len(doc["rows"]):
            wrong.append((row, "rows", doc["rows"], self.named.get(row, {})))
        return wrong


class Ledger:
    """What was acknowledged of the rows of w."""

    def __init__(self):
        self.sums, self.added, self.removed, self.assigned, self.count = {}, {}, {}, [], 0
        self.invented = set()
        self.documents = Documents()
        # Characters typed, each in one place only, and those taken away.
        self.typed, self.erased, self.character = {}, {}, 0x10000

    def invent(self, rnd, c):
        """Rows whose keys SQLite invents, some of them taken back."""
        def insert(count):
            names = [f"{len(self.invented)} {self.count} {n}" for n in range(count)]
            self.count += 1
            c.execute(f"insert into i(v) values {','.join('(?)' for _ in names)}", names)
            return names
        if rnd.random() < 0.5:
            self.invented.update(insert(rnd.choice([1, 1, 2, 70])))
            return
        c.execute("begin")
        kept = insert(rnd.randrange(1, 4))
        c.execute("savepoint s")
        gone = insert(rnd.choice([1, 100]))
        try:
            c.execute("insert into i(v) values ('x'), (null)")
        except sqlite3.IntegrityError:
            pass
        if rnd.random() < 0.5:
            c.execute("rollback to s")
            gone = []
        kept += gone + insert(1)
        c.execute("commit")
        self.invented.update(kept)

    def write(self, rnd, c):
        row, self.count = f"w{rnd.randrange(2)}", self.count + 1
        what = rnd.choice(["n", "tags", "tags", "hi", "lo", "mv", "body", "body", "body", *["doc"] * 4])
        number = rnd.randrange(-99, 100)
        before = vector(value(c, "select nuda_version_vector()"))
        if what == "n":
            c.execute("update w set n=n+? where id=?", (number, row))
            self.sums[row] = self.sums.get(row, 0) + number
        elif what == "doc":
            self.documents.write(rnd, c, row, self.count)
        elif what == "body":
            now = value(c, "select body from w where id=?", row) or ""
            at = rnd.randrange(len(now) + 1)
            gone = now[at:at + rnd.choice([0, 0, 1, 3])]
            new = "".join(chr(self.character + n) for n in range(rnd.choice([0, 1, 1, 4])))
            self.character += len(new)
            c.execute("update w set body=? where id=?", (now[:at] + new + now[at + len(gone):], row))
            self.typed.setdefault(row, []).append(new)
            self.erased.setdefault(row, set()).update(gone)
        elif what == "tags":
            now = set(json.loads(value(c, "select tags from w where id=?", row) or "[]"))
            gone = {e for e in now if rnd.random() < 0.3}
            new = f"{self.count}"
            c.execute("update w set tags=? where id=?", (json.dumps(list(now - gone) + [new]), row))
            self.added.setdefault(row, set()).add(new)
            self.removed.setdefault(row, set()).update(gone)
        elif str(value(c, f"select {what} from w where id=?", row)) != str(number):
            c.execute(f"update w set {what}=? where id=?", (number, row))
            after = vector(value(c, "select nuda_version_vector()"))
            dot = next((s, n) for s, n in after.items() if before.get(s, 0) < n)
            self.assigned.append((row, what, number, dot, before))

    def standing(self, row, what):
        mine = [a for a in self.assigned if a[:2] == (row, what)]
        return {number for _, _, number, (site, seq), _ in mine
                if not any(seen.get(site, 0) >= seq for *_, seen in mine)}

    def missing(self, c):
        """What a replica lacks in the end, or shows wrongly."""
        found = [v for (v,) in c.execute("select v from i")]
        wrong = sorted(self.invented.symmetric_difference(found))
        if len(found) != len(self.invented):
            wrong.append((len(found), len(self.invented)))
        for row, n, hi, lo, mv, tags, body, doc in c.execute("select * from w"):
            wrong += self.documents.missing(row, doc)
            erased = self.erased.get(row, set())
            kept = ["".join(ch for ch in run if ch not in erased) for run in self.typed.get(row, [])]
            if sorted(body or "") != sorted("".join(kept)):
                wrong.append((row, "body", body, kept))
            # What was typed at once stays in order.
            wrong += [(row, "order", run) for run in kept
                      if run != "".join(ch for ch in body or "" if ch in run)]
            mv = json.loads(mv) if str(mv).startswith("[") else [mv]
            wanted = {
                "n": (n, self.sums.get(row, 0)),
                "hi": (hi, max(self.standing(row, "hi"), default=None)),
                "lo": (lo, min(self.standing(row, "lo"), default=None)),
                "mv": (set(mv), self.standing(row, "mv") or {None}),
                "tags": (set(json.loads(tags or "[]")),
                         self.added.get(row, set()) - self.removed.get(row, set())),
            }
            wrong += [(row, what, *pair) for what, pair in wanted.items() if pair[0] != pair[1]]
        return wrong


def vector(text):
    return {site: int(seq) for site, seq in (e.split(":") for e in text.split(",") if e)}


def statement(rnd, c):
    key, r = f"k{rnd.randrange(6)}", rnd.random()
    if r < 0.25:
        c.execute("insert or replace into t values(?,?,?,?,?,?,?,?,?,?)",
                  (key, rnd.random(), rnd.randrange(9), rnd.randrange(9), rnd.randrange(9),
                   str(rnd.randrange(9)), rnd.choice("abc"), some(rnd), typed(rnd, "a b c"), document(rnd)))
    elif r < 0.4:
        c.execute("delete from t where id=?", (key,))
    elif r < 0.6:
        c.execute("update t set x=? where id=?", (rnd.random(), key))
    elif r < 0.7:
        c.execute("update t set n=n+? where id=?", (rnd.randrange(-5, 6), key))
    elif r < 0.73:
        c.execute("update or replace t set id=? where id=?", (f"k{rnd.randrange(6)}", key))
    elif r < 0.76:
        c.execute("update t set hi=?, lo=? where id=?", (rnd.randrange(99), str(rnd.randrange(99)), key))
    elif r < 0.79:
        c.execute("update t set mv=? where id=?", (rnd.choice("abcde"), key))
    elif r < 0.83:
        c.execute("update t set tags=? where id=?", (some(rnd), key))
    elif r < 0.86:
        for table, column, name in rnd.sample([("t", "id", key), ("u", "k2", key)], 2):
            found = c.execute(f"select body, doc from {table} where {column}=?", (name,)).fetchone()
            if found:
                c.execute(f"update {table} set body=?, doc=? where {column}=?",
                          (typed(rnd, found[0]), found[1], name))
    elif r < 0.9:
        for table, column, name in rnd.sample([("t", "id", key), ("u", "k2", key)], 2):
            found = c.execute(f"select doc from {table} where {column}=?", (name,)).fetchone()
            if found:
                c.execute(f"update {table} set doc=? where {column}=?",
                          (rewritten(rnd, found[0]), name))
    elif r < 0.93:
        c.execute("insert into u values(?,?,?,?,?) on conflict do update set v=excluded.v",
                  (rnd.randrange(3), key, str(rnd.random()), typed(rnd, "u v w"), document(rnd)))
    elif r < 0.95:
        c.execute("delete from u where k2=?", (key,))
    else:
        c.execute("insert or ignore into t(id,x,n) values(?,?,0)", (key, rnd.random()))


def large_transaction(rnd, c):
    """Outgrows the buffer several times, so that its changes travel in parts."""
    c.execute("begin")
    for _ in range(20):
        for _ in range(3):
            statement(rnd, c)
        c.execute("insert into u values(9, 'large', ?, 'l', '[]') on conflict do update set v=excluded.v, "
                  "body=body||'x', doc=json_insert(doc, '$[#]', 1)",
                  (str(rnd.random()) * 12_000,))
    c.execute("commit")


def transaction(rnd, c):
    if rnd.random() < 0.005:
        large_transaction(rnd, c)
        return
    if rnd.random() < 0.6:
        statement(rnd, c)
        return
    c.execute("begin")
    for _ in range(rnd.randrange(1, 5)):
        c.execute("savepoint s")
        statement(rnd, c)
        if rnd.random() < 0.3:
            c.execute("rollback to s")
        c.execute("release s")
    c.execute("commit" if rnd.random() < 0.9 else "rollback")


def alter(rnd, founder, number):
    """Plain DDL, which travels."""
    if rnd.random() < 0.5:
        founder.execute(f"alter table i add column c{number} default {number}")
    else:
        founder.execute("drop index if exists i_v")
        if rnd.random() < 0.7:
            founder.execute(f"create index i_v on i(v, {rnd.randrange(9)} + id)")


def indexes(c):
    return c.execute("select sql from sqlite_schema where name='i_v'").fetchall()


def ship(rnd, x, y, limit, sent):
    """In order or not, some of it twice, and some that was sent before."""
    vector = value(y, "select nuda_version_vector()")
    rows = x.execute("select changeset from nuda_changes_since(?)", (vector,)).fetchall()
    fresh = [changeset for (changeset,) in rows[:limit]]
    batch = fresh + rnd.sample(fresh, rnd.randrange(len(fresh) + 1)) if rnd.random() < 0.3 else fresh
    batch += rnd.sample(sent, min(len(sent), 2))
    if rnd.random() < 0.2:
        rnd.shuffle(batch)
    for changeset in batch:
        answer = json.loads(value(y, "select nuda_apply(?)", changeset))
        assert answer["status"] in ("applied", "duplicate", "waiting"), answer
    sent += fresh
    del sent[:-20]


def restart(rnd, replicas, folder):
    """A program ends, orderly or not, and another one opens the file."""
    name = rnd.choice(NAMES)
    if rnd.random() < 0.3:
        # What was not committed is gone.
        replicas[name].execute("begin")
        statement(rnd, replicas[name])
    replicas[name].close()
    replicas[name] = opened(f"{folder}/{name}.db")


def position(c):
    return vector(value(c, "select nuda_version_vector()")).get("log.strong", 0)


def strong_transaction(rnd, every, sent):
    """At a replica that has everything of whoever made the last one."""
    c, last = rnd.choice(every), max(every, key=position)
    if c is not last:
        ship(rnd, last, c, None, sent)
    if position(c) < position(last):
        return 0
    before = position(c)
    c.execute("select nuda_write_consistency('strong')")
    transaction(rnd, c)
    c.execute("select nuda_write_consistency('eventual')")
    return position(c) - before


def vouch(rnd, replicas, reports):
    """As nuda_acknowledge and nuda_collect do in a cluster."""
    vectors = {n: vector(value(c, "select nuda_version_vector()")) for n, c in replicas.items()}
    for name, c in replicas.items():
        for other, said in vectors.items():
            if other != name and rnd.random() < 0.7 and \
                    all(vectors[name].get(s, 0) >= n for s, n in said.items()):
                reports[name, other] = said
        known = [reports.get((name, other), {}) for other in replicas if other != name]
        stable = {s: min([n] + [k.get(s, 0) for k in known]) for s, n in vectors[name].items()}
        text = ",".join(f"{s}:{n}" for s, n in sorted(stable.items()) if n)
        c.execute("select nuda_collect(?)", (text,))


def collect(rnd, replicas):
    vectors = {n: value(c, "select nuda_version_vector()") for n, c in replicas.items()}
    for name, c in replicas.items():
        for other, vector in vectors.items():
            if other != name and rnd.random() < 0.7:
                c.execute("select nuda_acknowledge(?,?)", (other, vector))
        c.execute("select nuda_collect()")


def rows(c):
    return [sorted(c.execute(f"select * from {t}").fetchall(), key=repr) for t in "tuwi"]


def run(seed, folder):
    rnd = random.Random(seed)
    replicas = cluster(folder)
    ledger, sent = Ledger(), []
    reports, strong = {}, 0
    # Some seeds go on for long.
    for number in range(300 if seed % 20 == 0 else 40):
        if rnd.random() < 0.05:
            restart(rnd, replicas, folder)
        every = list(replicas.values())
        if STRONG and rnd.random() < 0.3:
            strong += strong_transaction(rnd, every, sent)
        transaction(rnd, rnd.choice(every))
        if rnd.random() < 0.15:
            ledger.invent(rnd, rnd.choice(every))
        if rnd.random() < 0.02:
            alter(rnd, every[0], number)
        if rnd.random() < 0.4:
            ledger.write(rnd, rnd.choice(every))
        if rnd.random() < 0.3:
            x, y = rnd.sample(every, 2)
            ship(rnd, x, y, rnd.choice([1, 2, 5, 100]), sent)
        if rnd.random() < 0.1:
            vouch(rnd, replicas, reports) if STRONG else collect(rnd, replicas)
    every[0].execute("select nuda_propose()")
    for _ in range(3):
        for x in every:
            for y in every:
                if x is not y:
                    ship(rnd, x, y, None, sent)
    digests = [value(c, "select nuda_digest()") for c in every]
    found = [rows(c) for c in every]
    equal = all(d == digests[0] for d in digests) and all(f == found[0] for f in found)
    sound = all(value(c, "pragma integrity_check") == "ok" for c in every)
    conflicts = value(every[0], "select count(*) from nuda_conflicts")
    log = value(every[0], "select count(*) from nuda_log")
    missing = ledger.missing(every[0])
    equal &= all(indexes(c) == indexes(every[0]) for c in every)
    for c in every:
        c.close()
    print(f"seed {seed}: {'equal' if equal else 'DIFFERENT'}, {len(found[0][0])} and "
          f"{len(found[0][1])} rows, {conflicts} conflicts, {log} records in the log"
          f"{f', {strong} strong' if STRONG else ''}{', MISSING' if missing else ''}", flush=True)
    if not equal or not sound or missing:
        print(missing)
        for n, table in enumerate("tuwi"):
            common = set.intersection(*(set(content[n]) for content in found))
            for name, content in zip(NAMES, found):
                print(table, name, [row for row in content[n] if row not in common])
        sys.exit(1)
    return strong


in_all = 0
for number in range(FIRST, FIRST + COUNT):
    # In memory if possible: the disk is not what is tested.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as home:
        in_all += run(number, home)
if STRONG and not in_all:
    sys.exit("no transaction was strong")
