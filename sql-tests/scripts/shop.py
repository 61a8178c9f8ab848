"""A shop's database, with the tables, keys and references that such a thing has: artists, albums,
tracks, playlists with a composite key, customers, invoices and their lines, and employees who report
to each other. It is tracked whole, three replicas write at random with foreign keys enforced, and
exchange at random: all end equal, and PRAGMA foreign_key_check finds nothing anywhere.

Usage: shop.py EXTENSION [FILE]. With a file, a copy of that database is tracked and written
instead; it is to have the tables and columns of the one made here (names in any case).
"""
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile

from replica import opened, value

FILE = sys.argv[2] if len(sys.argv) > 2 else None
TURNS = 600
SCHEMA = """
create table artist(artistid integer not null primary key, name nvarchar(120));
create table album(albumid integer not null primary key, title nvarchar(160) not null,
  artistid integer not null references artist(artistid) on delete no action);
create table genre(genreid integer not null primary key, name nvarchar(120));
create table mediatype(mediatypeid integer not null primary key, name nvarchar(120));
create table track(trackid integer not null primary key, name nvarchar(200) not null,
  albumid integer references album(albumid), mediatypeid integer not null references mediatype,
  genreid integer references genre, milliseconds integer not null, unitprice numeric(10,2) not null);
create table playlist(playlistid integer not null primary key, name nvarchar(120));
create table playlisttrack(playlistid integer not null references playlist,
  trackid integer not null references track(trackid), primary key(playlistid, trackid));
create table employee(employeeid integer not null primary key, lastname nvarchar(20) not null,
  firstname nvarchar(20) not null, reportsto integer references employee(employeeid));
create table customer(customerid integer not null primary key, firstname nvarchar(40) not null,
  lastname nvarchar(20) not null, email nvarchar(60) not null,
  supportrepid integer references employee(employeeid));
create table invoice(invoiceid integer not null primary key,
  customerid integer not null references customer, invoicedate datetime not null,
  total numeric(10,2) not null);
create table invoiceline(invoicelineid integer not null primary key,
  invoiceid integer not null references invoice, trackid integer not null references track(trackid),
  unitprice numeric(10,2) not null, quantity integer not null);
create index album_artist on album(artistid);
create index track_album on track(albumid);
create index playlisttrack_track on playlisttrack(trackid);
create index line_invoice on invoiceline(invoiceid);
create index line_track on invoiceline(trackid);
"""
# Parents before children; the last ones are those of which most are written.
ORDER = ["artist", "genre", "mediatype", "employee", "playlist", "album", "customer", "track",
         "invoice", "playlisttrack", "invoiceline"]


def filled(c):
    c.executescript(SCHEMA)
    for n in range(1, 9):
        c.execute("insert into artist values(?, 'artist ' || ?)", (n, n))
        c.execute("insert into album values(?, 'album', ?)", (n, n))
        c.execute("insert into employee values(?, 'l', 'f', ?)", (n, n // 2 or None))
        c.execute("insert into customer values(?, 'f', 'l', 'mail', ?)", (n, n))
    c.executescript("insert into genre values(1, 'rock'); insert into mediatype values(1, 'mp3');"
                    "insert into playlist values(1, 'music'), (2, 'best')")
    for n in range(1, 30):
        c.execute("insert into track values(?, 'track', ?, 1, 1, 1000, 0.99)", (n, n % 8 + 1))
        c.execute("insert into playlisttrack values(1, ?)", (n,))


def columns(c, table):
    """Name, whether it has to be there, whether it is a text, and what it refers to."""
    refers = {row[3].lower(): row[2] for row in c.execute(f"pragma foreign_key_list({table})")}
    return [(name, needed or key > 0, "CHAR" in kind.upper(), refers.get(name.lower()))
            for _, name, kind, needed, _, key in c.execute(f"pragma table_info({table})")]


def some_key(c, rnd, table):
    """The key of a row that is there, or None."""
    keys = c.execute(f"select min(rowid), max(rowid) from {table}").fetchone()
    if keys[0] is None:
        return None
    at = rnd.randrange(keys[0], keys[1] + 1)
    row = c.execute(f"select rowid from {table} where rowid >= ? order by rowid limit 1", (at,))
    return row.fetchone()[0]


def insert(c, rnd, table, new):
    row = []
    for n, (_, needed, is_text, parent) in enumerate(columns(c, table)):
        if parent:
            key = some_key(c, rnd, parent)
            row.append(key if needed or rnd.random() < 0.8 else None)
        elif n == 0:
            row.append(new)
        else:
            row.append("text" if is_text else rnd.randrange(1, 50) if needed else None)
    places = ",".join("?" * len(row))
    c.execute(f"insert or ignore into {table} values({places})", row)


def step(c, rnd, new):
    table = rnd.choice(ORDER + ORDER[-4:])
    r = rnd.random()
    if r < 0.5:
        insert(c, rnd, table, new)
        return
    key = some_key(c, rnd, table)
    if r < 0.75:
        free = [column for column in columns(c, table)[1:] if table != "playlisttrack"]
        if free and key is not None:
            name, needed, is_text, parent = rnd.choice(free)
            now = some_key(c, rnd, parent) if parent else "edited" if is_text else new % 50 + 1
            c.execute(f"update {table} set {name} = ? where rowid = ?", (now, key))
    else:
        # Children first, as an application does; what others refer to is refused.
        c.execute("begin")
        for child in ORDER:
            for column, _, _, parent in columns(c, child):
                if parent and parent.lower() == table:
                    c.execute(f"delete from {child} where {column} = ?", (key,))
        c.execute(f"delete from {table} where rowid = ?", (key,))
        c.execute("commit")


def ship(x, y, limit):
    vector = value(y, "select nuda_version_vector()")
    rows = x.execute("select changeset from nuda_changes_since(?)", (vector,)).fetchall()
    for (changeset,) in rows[:limit]:
        answer = json.loads(value(y, "select nuda_apply(?)", changeset))
        assert answer["status"] in ("applied", "duplicate", "waiting"), answer


def broken(c):
    return c.execute("pragma foreign_key_check").fetchall()


def run(seed, folder):
    rnd, every, refused = random.Random(seed), [], 0
    path = lambda n: f"{folder}/{n}.db"
    if FILE:
        shutil.copy(FILE, path(0))
    a = opened(path(0), "foreign_keys")
    a.execute("select nuda_init('shop')")
    a.execute("select nuda_join('n0')")
    if not FILE:
        filled(a)
    a.execute("begin")
    for table in ORDER:
        a.execute("select nuda_track(?)", (table,))
    a.execute("commit")
    kept = value(a, "select count(*) from nuda_tables where options = 'foreign_keys'")
    assert kept == 7, kept
    a.execute("pragma wal_checkpoint(truncate)")
    every.append(a)
    for n in (1, 2):
        shutil.copy(path(0), path(n))
        every.append(opened(path(n), "foreign_keys"))
        every[n].execute(f"select nuda_join('n{n}')")
    hidden = 0
    for turn in range(TURNS):
        c = rnd.choice(every)
        try:
            # Keys of nodes overlap now and then: rows of one key are merged.
            step(c, rnd, 5000 + turn - turn % 3)
        except sqlite3.IntegrityError:
            refused += 1
            if c.in_transaction:
                c.execute("rollback")
        if rnd.random() < 0.1:
            x, y = rnd.sample(every, 2)
            ship(x, y, rnd.choice([5, 100]))
            y.execute("select nuda_settle()")
            hidden = max(hidden, value(y, "select count(*) from nuda_hidden"))
            assert not broken(y), (seed, broken(y)[:5])
    for _ in range(3):
        for x in every:
            for y in every:
                if x is not y:
                    ship(x, y, None)
    digests = {value(c, "select nuda_digest()") for c in every}
    rows = {table: value(a, f"select count(*) from {table}") for table in ORDER}
    found = [broken(c) for c in every]
    print(f"seed {seed}: {'equal' if len(digests) == 1 else 'DIFFERENT'}, {refused} refused, at most "
          f"{hidden} hidden, {value(a, 'select count(*) from nuda_hidden')} in the end, {rows}")
    assert len(digests) == 1 and not any(found), found
    for c in every:
        c.close()


for number in range(1, 4):
    # In memory if possible: the disk is not what is tested.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as home:
        run(number, home)
