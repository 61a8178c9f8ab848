"""An application in Python with the loadable extension: what application.rs does, line by line."""

import json
import os
import sqlite3
import sys
import time

SETTLING_S = 20


def scalar(conn, sql, *args):
    row = conn.execute(sql, args).fetchone()
    return row[0] if row else None


def roll_back(conn):
    if conn.in_transaction:
        try:
            conn.execute("ROLLBACK")
        except sqlite3.Error:
            pass


def lists(conn, asked):
    answers = []
    for part in asked["ops"]:
        if part[0] == "append":
            conn.execute(
                "INSERT INTO list(id, elements) VALUES (?1, ?2)"
                " ON CONFLICT(id) DO UPDATE SET elements = elements || ',' || ?2",
                (part[1], str(part[2])),
            )
            answers.append(part)
        else:
            found = scalar(conn, "SELECT elements FROM list WHERE id = ?", part[1])
            answers.append(["r", part[1], json.loads(f"[{found or ''}]")])
    return answers


def register(conn, asked):
    key, op = asked["key"], asked["op"]
    put = (
        "INSERT INTO register(id, value) VALUES (?1, ?2)"
        " ON CONFLICT(id) DO UPDATE SET value = ?2"
    )
    if op[0] == "write":
        conn.execute(put, (key, op[1]))
        return op
    found = scalar(conn, "SELECT value FROM register WHERE id = ?", key)
    if op[0] == "swap":
        conn.execute(put, (key, op[1]))
        return ["swap", op[1], found]
    return ["read", found]


def beside(conn, asked):
    conn.execute("INSERT INTO register(id, value) VALUES (-?1, ?1)", (asked["id"],))


def transfer(conn, asked):
    change = "UPDATE account SET balance = balance + ?2 WHERE id = ?1"
    conn.execute(change, (asked["from"], -asked["amount"]))
    conn.execute(change, (asked["to"], asked["amount"]))


def balances(conn, _asked):
    return [row[0] for row in conn.execute("SELECT balance FROM account ORDER BY id")]


def add(conn, asked):
    conn.execute("INSERT INTO item(id) VALUES (?)", (asked["id"],))


def note(conn, asked):
    conn.execute("INSERT INTO note VALUES (?)", (asked["id"],))
    conn.execute("UPDATE tally SET notes = notes + 1")


def keep(conn, asked):
    conn.execute("INSERT INTO kept VALUES (CAST(? AS INTEGER))", (asked["id"],))
    conn.execute("UPDATE tally SET kept = kept + 1")


def kept(conn, asked):
    ids = [row[0] for row in conn.execute("SELECT id FROM kept WHERE id >= ?", (asked["from"],))]
    count = scalar(conn, "SELECT count(*) FROM kept")
    return {"ids": ids, "count": count, "counted": scalar(conn, "SELECT kept FROM tally")}


VERBS = {
    "lists": lists,
    "register": register,
    "beside": beside,
    "transfer": transfer,
    "balances": balances,
    "add": add,
    "note": note,
    "keep": keep,
    "kept": kept,
}


def refused(conn, error, answer):
    """COMMIT has failed: what is known of it?"""
    text = str(error)
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_BUSY") or "not committed" in text or "is locked" in text:
        return {"fail": text}
    if "nuda_txn_status('" not in text:
        return {"unknown": text}
    txn = text.split("nuda_txn_status('")[1].split("'")[0]
    until = time.monotonic() + SETTLING_S
    while True:
        try:
            status = scalar(conn, "SELECT nuda_txn_status(?)", txn)
        except sqlite3.Error as late:
            if time.monotonic() > until:
                return {"unknown": f"{text}; {late}"}
            time.sleep(0.05)
            continue
        if status == "committed":
            return {"ok": answer, "settled": txn}
        if status == "aborted":
            return {"fail": f"{text}; settled: aborted"}
        return {"unknown": f"{text}; {status}"}


def carry_out(conn, asked):
    try:
        if asked["do"] in ("note", "beside"):
            # An eventual write has no other disk.
            conn.execute("PRAGMA synchronous = FULL")
        if asked["do"] != "note":
            scalar(conn, "SELECT nuda_read_consistency(?)", asked.get("level", "strong"))
        if "staleness_ms" in asked:
            scalar(conn, "SELECT nuda_max_staleness(?)", asked["staleness_ms"])
        if "token" in asked:
            scalar(conn, "SELECT nuda_session(?)", asked["token"])
        if "write" in asked:
            scalar(conn, "SELECT nuda_write_consistency(?)", asked["write"])
        conn.execute(asked.get("begin", "BEGIN IMMEDIATE"))
        answer = VERBS[asked["do"]](conn, asked)
    except sqlite3.Error as error:
        roll_back(conn)
        return {"fail": str(error)}
    before = last_commit(conn)
    try:
        conn.execute("COMMIT")
    except sqlite3.Error as error:
        roll_back(conn)
        return refused(conn, error, answer)
    last = last_commit(conn)
    if asked["do"] == "keep":
        return {"ok": {"token": scalar(conn, "SELECT nuda_session()")}}
    if last.get("id") == before.get("id") or last.get("level") != "strong":
        return {"ok": answer}
    return {"ok": answer, "position": last.get("position")}


def last_commit(conn):
    return json.loads(scalar(conn, "SELECT nuda_last_commit()") or "{}")


def main():
    conn = sqlite3.connect(os.environ["NUDA_PROOF_FILE"], timeout=2, isolation_level=None)
    conn.enable_load_extension(True)
    conn.load_extension(sys.argv[1])
    sync = os.environ.get("NUDA_PROOF_SYNC", "FULL")
    # SQLite before 3.51.3 may lose a transaction when it checkpoints: that is left to others.
    for sql in ("PRAGMA wal_autocheckpoint = 0", f"PRAGMA synchronous = {sync}"):
        conn.execute(sql)
    scalar(conn, "SELECT nuda_timeout(1000)")
    for line in sys.stdin:
        print("= " + json.dumps(carry_out(conn, json.loads(line))), flush=True)


main()
