#!/usr/bin/env bash
# Runs SQLite's own TCL tests on the VFS nuda. README.md says what for, what is needed, what to expect.
# Usage: run.sh [off|vfs|hooks]...     (all three by default; "off" is what the others are compared with)
# NUDA_UPSTREAM_DIR    where to build and run   (default: nuda-upstream in the temporary folder)
# NUDA_UPSTREAM_TESTS  files of SQLite's test/  (default: veryquick.test)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=${NUDA_UPSTREAM_DIR:-${TMPDIR:-/tmp}/nuda-upstream}
read -r -a tests <<<"${NUDA_UPSTREAM_TESTS:-veryquick.test}"
modes=("$@")
((${#modes[@]})) || modes=(off vfs hooks)

die() { echo "run.sh: $*" >&2; exit 2; }

for tool in apt-get dpkg-source gcc make tclsh cargo setpriv; do
    command -v "$tool" >/dev/null || die "$tool is missing; apt-get install dpkg-dev build-essential tcl-dev zlib1g-dev"
done
for mode in "${modes[@]}"; do
    case $mode in off | vfs | hooks) ;; *) die "unknown mode $mode" ;; esac
done
mkdir -p "$dir"
chmod 755 "$dir"
cd "$dir"

# The source package of the SQLite that this Debian ships. Machines rarely have deb-src lines, so lists of
# our own are made from the lines they do have; the machine's configuration is left alone.
fetch() {
    compgen -G 'sqlite3-*/configure' >/dev/null && return
    mkdir -p apt/lists/partial
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
        awk '$3 == "main" && $4 ~ /Debian/ { print "deb-src", $1, $2, $3 }' | sort -u >apt/src.list
    [[ -s apt/src.list ]] || die "no Debian package source is configured"
    local options=(-o "Dir::Etc::sourcelist=$dir/apt/src.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$dir/apt/lists")
    apt-get "${options[@]}" update
    apt-get "${options[@]}" source sqlite3
}

# Two files skip themselves unless the default VFS is called "unix"; what they test is forwarded by ours.
lift() {
    sed -i 's/\[test_syscall defaultvfs\] *!= *"unix"/0/' sqlite3-*/test/mmap2.test sqlite3-*/test/syscall.test
}

build() {
    CARGO_TARGET_DIR=$dir/target cargo build --release --manifest-path "$here/shim/Cargo.toml"
    gcc -O2 -c "$here/shim/extra_init.c" -o extra_init.o
    local source
    source=$(echo "$dir"/sqlite3-*/)
    mkdir -p build
    cd build
    [[ -f Makefile ]] ||
        CFLAGS="-O2 -DSQLITE_EXTRA_INIT=nuda_extra_init" "$source/configure" --enable-all >configure.log
    rm -f testfixture
    make testfixture LIBS="$dir/extra_init.o $dir/target/release/libnuda_upstream_shim.a -lpthread -ldl -lm" \
        >make.log 2>&1 || { tail -20 make.log >&2; die "the test program does not build"; }
    cd ..
}

# SQLite's tests refuse to run as root: file permissions mean nothing to it.
as_user() {
    if ((EUID == 0)); then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi
}

run() {
    local mode=$1 test
    rm -rf "run-$mode"
    mkdir "run-$mode"
    if ((EUID == 0)); then chown 65534:65534 "run-$mode"; fi
    cd "run-$mode"
    for test in "${tests[@]}"; do
        HOME=$PWD NUDA_UPSTREAM=$mode as_user "$dir/build/testfixture" "$dir"/sqlite3-*/test/"$test" >>log 2>&1 || true
    done
    cd ..
    grep -aE '^[0-9]+ errors out of' "run-$mode/log" | sed "s/^/$mode: /" || true
    (($(grep -acE '^[0-9]+ errors out of' "run-$mode/log") == ${#tests[@]})) ||
        die "$mode: not all test files came to their end; see $dir/run-$mode/log"
    { grep -aE '^!Failures on these tests:' "run-$mode/log" || true; } | cut -d: -f2 | tr ' ' '\n' |
        sed '/^$/d' | sort -u >"run-$mode/failures"
}

# What hooks change by being there: an auto-extension stays registered, and memsubsys2-4.* count the 24 bytes of
# SQLite's list of them; quota-2.1.2.1 reads the name of the VFS, to which adopting the file adds ours.
known() {
    if [[ $1 == hooks ]]; then grep -vE '^(memsubsys2-4\.|quota-2\.1\.2\.1$)' || true; else cat; fi
}

fetch
lift
build
status=0
for mode in "${modes[@]}"; do run "$mode"; done
for mode in "${modes[@]}"; do
    [[ $mode != off && -f run-off/failures ]] || continue
    new=$(comm -13 run-off/failures "run-$mode/failures" | known "$mode" | tr '\n' ' ')
    if [[ -n $new ]]; then
        echo "$mode: fails where the plain VFS does not: $new"
        status=1
    else
        echo "$mode: fails nowhere that the plain VFS does not"
    fi
done
exit $status
