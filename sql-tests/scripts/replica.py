"""What the scripts beside this one do with a replica: open it, ask it, collect, read a hidden row.

They get the extension's path as their first argument, and so does this.
"""
import sqlite3
import sys

EXTENSION = sys.argv[1]


def opened(path, pragma=None):
    c = sqlite3.connect(path, isolation_level=None)
    c.enable_load_extension(True)
    c.load_extension(EXTENSION)
    if pragma:
        c.execute(f"pragma {pragma} = on")
    return c


def value(c, sql, *args):
    return c.execute(sql, args).fetchone()[0]


def collect(rnd, replicas):
    vectors = {n: value(c, "select nuda_version_vector()") for n, c in replicas.open.items()}
    for name, c in replicas.open.items():
        for other, vector in vectors.items():
            if other != name and rnd.random() < 0.7:
                c.execute("select nuda_acknowledge(?,?)", (other, vector))
        c.execute("select nuda_collect()")


def decoded(row):
    """The values of a hidden row, as far as these tests write such."""
    values, at = [], 0
    while at < len(row):
        tag = row[at]
        at += 1
        if tag == 0:
            values.append(None)
        elif 0x10 <= tag <= 0x18:
            values.append(int.from_bytes(row[at:at + tag - 0x10], "big", signed=True))
            at += tag - 0x10
        elif 0x40 <= tag < 0x80:
            values.append(row[at:at + tag - 0x40].decode())
            at += tag - 0x40
        elif tag == 2:
            length, shift = 0, 0
            while True:
                length |= (row[at] & 127) << shift
                shift, at = shift + 7, at + 1
                if row[at - 1] < 128:
                    break
            values.append(row[at:at + length].decode())
            at += length
        else:
            raise AssertionError(row)
    return tuple(values)
