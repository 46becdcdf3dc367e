#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dump --lazy-pages, the lazy-pages daemon and restore --lazy-pages, all ours: a process that writes all the time, and redis-server, run before their pages
# are there and have the right ones. Pages that are in the images need no source. A source that is lost leaves the process standing where it needs a page:
# it never reads zeros, and the daemon says why. A restore without a daemon, or whose daemon ends, fails and leaves nothing.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
# The port is nobody else's.
[ -n "${IN_NET:-}" ] || exec unshare --net env IN_NET=1 "$PWD/tests/integration/$(basename "$0")"
ip link set lo up
. tests/lib/images.sh
. tests/lib/criu.sh
. tests/lib/lazy_restore.sh
dray() { "$BUILD/dray" "$@"; } # not to be sent to the background: $! would be a shell

# Dumps $subject into DIR with its pages left, and waits until they are served.
dump() {
	mkdir "$1"
	"$BUILD/dray" dump -t "$subject" -D "$1" --lazy-pages --port 9001 -o dump.log -v4 2> "$T/dump.err" &
	dump=$!
	subjects+=("$dump")
	await 60 test -e "$1/inventory.img"
}
daemon() { # DIR [OPTION...]
	"$BUILD/dray" lazy-pages -D "$@" -o lazy.log -v4 2> "$T/daemon.err" &
	daemon=$!
	subjects+=("$daemon")
	daemon_ready "$1"
}
from_dump() { daemon "$1" --page-server --address 127.0.0.1 --port 9001; }

echo "--- a process that writes all the time"
for layout in 24 32; do
	workload --size 32M --rate 50
	dump "$T/w$layout"
	daemon "$T/w$layout" --page-server --address 127.0.0.1 --port 9001 --ps-layout "$layout"
	restore "$T/w$layout" -o restore.log -v4
	copy_runs
	copy_right
	ended_well "$daemon" daemon
	ended_well "$dump" dump
	ended
	copy_right
	copy_ends
done

echo "--- from the images, no source"
workload --size 16M --rate 20
mkdir "$T/i"
dray dump -t "$subject" -D "$T/i" || fail "dump"
ended
daemon "$T/i"
restore "$T/i"
copy_runs
copy_right
ended_well "$daemon" daemon
copy_ends

# What is locked the kernel makes present at once, as zeros: that has to go again before anybody reads it.
echo "--- memory that is locked"
workload --size 32M --rate 20 --lock
dump "$T/m"
from_dump "$T/m"
restore "$T/m" -o restore.log -v4
copy_runs
copy_right
ended_well "$daemon" daemon
ended_well "$dump" dump
ended
copy_right
dropped=$(sed -n 's/.* lazy-restore .*dropped=\([0-9]*\).*/\1/p' "$T/m/restore.log")
[ "${dropped:-0}" -ge 8192 ] || fail "of 8192 locked pages dropped=$dropped"
grep -q '^VmLck:.* 3[0-9][0-9][0-9][0-9] kB' "/proc/$copy/status" || fail "it is not locked any more: $(grep VmLck "/proc/$copy/status")"
copy_ends

echo "--- redis-server"
if command -v redis-server > /dev/null; then
	r() { nsenter --net="/proc/$1/ns/net" redis-cli -p 6379 "${@:2}"; }
	answers() { [ "$(r "$1" ping 2> /dev/null)" = PONG ]; }
	launch redis-server --port 6379 --save '' --appendonly no --dir "$T" --enable-debug-command yes
	await 20 answers "$subject"
	r "$subject" debug populate 20000 key 1024 > /dev/null
	digest=$(r "$subject" debug digest)
	dump "$T/r"
	from_dump "$T/r"
	restore "$T/r" --tcp-close
	copy_runs
	await 20 answers "$copy"
	[ "$(r "$copy" get key:777 | wc -c)" = 1025 ] || fail "a key of another length"
	[ "$(r "$copy" debug digest)" = "$digest" ] || fail "other contents than before"
	ended_well "$daemon" daemon
	ended_well "$dump" dump
	[ "$(r "$copy" debug digest)" = "$digest" ] || fail "other contents at the end"
	copy_ends
fi

echo "--- the source is lost while pages are missing"
workload --size 32M --rate 50
dump "$T/l"
python3 tests/lib/short_wire.py 9002 9001 4000000 > "$T/wire.out" 2> "$T/wire.err" < /dev/null &
subjects+=($!)
await 20 grep -q ready "$T/wire.out"
daemon "$T/l" --page-server --address 127.0.0.1 --port 9002
restore "$T/l"
await 60 grep -q 'lazy-source-lost .*stand still' "$T/l/lazy.log"
await 20 grep -q cut "$T/wire.out"
copy_runs
waits() { grep -q handle_userfault /proc/"$copy"/task/*/wchan; }
await 60 waits
[ ! -s "$T/report" ] || fail "it says: $(cat "$T/report")"
! gone "$daemon" || fail "the daemon ended while a process waits for pages"
rc=0; wait "$dump" || rc=$?
[ "$rc" != 0 ] || fail "the dump calls it success"
workload_right # the original goes on
copy_ends
rc=0; wait "$daemon" || rc=$?
[ "$rc" = 6 ] || fail "the daemon ended with $rc"
grep -q 'the source ended the connection' "$T/daemon.err" "$T/l/lazy.log" || fail "not told: $(cat "$T/daemon.err")"

echo "--- the source is lost before the restore"
dump "$T/k"
from_dump "$T/k"
kill -KILL "$dump"
rc=0; wait "$daemon" || rc=$?
[ "$rc" = 6 ] || fail "the daemon ended with $rc"
grep -q 'before the restore was over' "$T/daemon.err" "$T/k/lazy.log" || fail "not told: $(cat "$T/daemon.err")"
workload_right
fails 1 'no lazy-pages daemon' criu restore -D "$T/i" --lazy-pages
fails 1 'are still where they were dumped (lazy)' unshare --pid --fork --mount-proc "$T/bin/criu" restore -D "$T/w24"
echo "ok: processes run before their pages are there"
