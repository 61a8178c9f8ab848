"""Runs statements through Python's sqlite3 module: one JSON request and answer per line."""
import json
import sqlite3
import sys


def text(value):
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def main():
    if "--version" in sys.argv:
        print(sqlite3.sqlite_version)
        return
    connection = None
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"rows": [], "error": None}
        try:
            if connection is None:
                mode = "ro" if request["read_only"] else "rwc"
                connection = sqlite3.connect(
                    f"file:{request['file']}?mode={mode}", uri=True, isolation_level=None
                )
                if request["extension"]:
                    connection.enable_load_extension(True)
                    connection.load_extension(request["extension"])
            else:
                for row in connection.execute(request["sql"]):
                    answer["rows"].append("|".join(map(text, row)))
        except (sqlite3.Error, sqlite3.Warning) as error:
            answer["error"] = str(error)
        print(json.dumps(answer), flush=True)
    if connection is not None:
        connection.close()


main()
