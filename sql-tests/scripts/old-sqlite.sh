#!/usr/bin/env bash
# Builds the oldest SQLite that the extension supports, for the SQL cases: sql-tests/scripts/old-sqlite.sh
# The sources are those that old versions of the crate libsqlite3-sys bring. Afterwards `cargo test -p
# nuda-sql-tests --test cases` runs the portable cases in Debian's Python with each of them, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
drivers=${CARGO_TARGET_DIR:-target}/drivers

# SQLite's version and the crate's that brings it.
for pair in 3.37.0:0.23.2 3.38.2:0.24.2; do
    version=${pair%:*} crate=${pair#*:}
    folder=$drivers/sqlite-$version
    [[ -f $folder/libsqlite3.so.0 ]] && continue
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
    cargo vendor --quiet --manifest-path "$folder/Cargo.toml" "$folder/vendor" >/dev/null
    grep -q "define SQLITE_VERSION  *\"$version\"" "$folder/vendor/libsqlite3-sys/sqlite3/sqlite3.h"
    gcc -O1 -shared -fPIC -w -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_JSON1 -DSQLITE_ENABLE_MATH_FUNCTIONS \
        -DSQLITE_ENABLE_COLUMN_METADATA -DSQLITE_ENABLE_RTREE -DSQLITE_ENABLE_DBSTAT_VTAB \
        -o "$folder/libsqlite3.so.new" "$folder/vendor/libsqlite3-sys/sqlite3/sqlite3.c" -lm -ldl -lpthread
    mv "$folder/libsqlite3.so.new" "$folder/libsqlite3.so.0"
    echo "built SQLite $version in $folder"
done
