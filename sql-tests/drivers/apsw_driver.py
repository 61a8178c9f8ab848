"""Runs statements through apsw: one JSON request and answer per line."""
import json
import sys

import apsw


def text(value):
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def main():
    if "--version" in sys.argv:
        print(apsw.sqlite_lib_version())
        return
    connection = None
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"rows": [], "error": None}
        try:
            if connection is None:
                flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
                if request["read_only"]:
                    flags = apsw.SQLITE_OPEN_READONLY
                connection = apsw.Connection(request["file"], flags=flags)
                connection.set_busy_timeout(5000)
                if request["extension"]:
                    connection.enable_load_extension(True)
                    connection.load_extension(request["extension"])
            else:
                for row in connection.execute(request["sql"]):
                    answer["rows"].append("|".join(map(text, row)))
        except apsw.Error as error:
            answer["error"] = str(error)
        print(json.dumps(answer), flush=True)
    if connection is not None:
        connection.close()


main()
