#!/usr/bin/env bash
# Builds old versions of SQLite: sql-tests/scripts/old-sqlite.sh
# 3.37.0 is the oldest that the extension takes, 3.38.2 and 3.39.2 lie between it and Debian's, and 3.36.0 is refused. The
# sources are those that old versions of the crate libsqlite3-sys bring. Afterwards `cargo test -p nuda-sql-tests` runs
# the portable cases in Debian's Python with each of them, too (`cases`), and asks each what it says at loading (`hosts`).
# What cannot be had, for want of a network, is skipped, and said so.
set -euo pipefail
cd "$(dirname "$0")/../.."
drivers=${CARGO_TARGET_DIR:-target}/drivers
skipped() { echo "skipped: $*" >&2; }

for tool in cargo gcc; do
    command -v "$tool" >/dev/null || { skipped "old versions of SQLite: no $tool here"; exit 0; }
done

# SQLite's version and the crate's that brings it.
for pair in 3.36.0:0.23.1 3.37.0:0.23.2 3.38.2:0.24.2 3.39.2:0.25.2; do
    version=${pair%:*} crate=${pair#*:}
    folder=$drivers/sqlite-$version
    if [[ -f $folder/libsqlite3.so.0 ]]; then
        echo "SQLite $version is in $folder"
        continue
    fi
    mkdir -p "$folder/src"
    : >"$folder/src/lib.rs"
    cat >"$folder/Cargo.toml" <<TOML
[package]
name = "old-sqlite"
version = "0.0.0"
edition = "2024"
[dependencies]
libsqlite3-sys = "=$crate"
[workspace]
TOML
    if ! timeout 300 cargo vendor --quiet --manifest-path "$folder/Cargo.toml" "$folder/vendor" >"$folder/vendor.log" 2>&1; then
        skipped "SQLite $version: cargo cannot fetch libsqlite3-sys $crate: $(tail -n 1 "$folder/vendor.log")"
        continue
    fi
    if ! grep -q "define SQLITE_VERSION  *\"$version\"" "$folder/vendor/libsqlite3-sys/sqlite3/sqlite3.h"; then
        echo "libsqlite3-sys $crate does not bring SQLite $version" >&2
        exit 1
    fi
    gcc -O1 -shared -fPIC -w -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_JSON1 -DSQLITE_ENABLE_MATH_FUNCTIONS \
        -DSQLITE_ENABLE_COLUMN_METADATA -DSQLITE_ENABLE_RTREE -DSQLITE_ENABLE_DBSTAT_VTAB \
        -o "$folder/libsqlite3.so.new" "$folder/vendor/libsqlite3-sys/sqlite3/sqlite3.c" -lm -ldl -lpthread
    mv "$folder/libsqlite3.so.new" "$folder/libsqlite3.so.0"
    rm -rf "$folder/vendor"
    echo "built SQLite $version in $folder"
done
