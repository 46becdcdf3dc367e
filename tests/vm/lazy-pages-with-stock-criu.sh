#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Pages that come after a restore, between Debian's criu and us, each in each part: our lazy dump feeds criu's lazy-pages daemon, our daemon fetches from
# criu's lazy dump, and both ends are ours; criu restores. And we restore what criu's daemon brings, from our dump and from criu's. The program checks all its memory, from there and from its images.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
export BUILD
command -v criu > /dev/null || { echo "needs criu"; exit 77; }
[ -n "${IN_VM:-}" ] || exec tests/vm/run-in-vm --timeout 280 --env IN_VM=1 --env "BUILD=$BUILD" -- "$PWD/$0"

t=$(mktemp -d)
fail() { echo "FAILED: $*"; tail -n 20 "$t"/*.err "$t"/*/*.log 2> /dev/null; exit 1; }
await() { local n=0; until "$@"; do n=$((n + 1)); [ $n -lt 600 ] || fail "never came true: $*"; sleep 0.1; done; }
gone() { ! kill -0 "$1" 2> /dev/null; }
listens() { ss -Hltn "sport = :$1" | grep -q .; }
next=20000
subject() { # a program of some MiB that knows its own data
	next=$((next + 100))
	echo $next > /proc/sys/kernel/ns_last_pid
	rm -f "$t/ready" "$t/verdict"
	setsid "$BUILD/subjects/workload" --size 8M --rate 1 --threads 1 --verify --ready "$t/ready" --report "$t/verdict" < /dev/null > /dev/null 2>&1 &
	pid=$!
	await test -e "$t/ready"
}
# In a PID namespace of its own: the original is still there, stopped, while its copy runs.
restorer=criu
restore() {
	setsid unshare --pid --mount --fork --mount-proc --kill-child=KILL "$restorer" restore -D "$1" -o restore.log -v2 --shell-job --lazy-pages < /dev/null > "$t/restore.err" 2>&1 &
	restored=$!
}
child_of() { local c; c=$(cat "/proc/$1/task/$1/children" 2> /dev/null); echo "${c%% *}"; }
right() { # the copy says that all its memory is right, after its last page came
	local p
	p=$(child_of "$(child_of "$restored")")
	[ -n "$p" ] || fail "nothing was restored"
	kill -USR1 "$p"
	await test -e "$t/verdict"
	grep -q '"verdict":"right"' "$t/verdict" || fail "wrong data: $(cat "$t/verdict")"
	kill -KILL "$p"
	await gone "$restored"
}

# SET, DAEMON, DUMP: the set is restored, both programs end well, the original is gone, the copy is right.
fed() {
	await test -S "$t/$1/lazy-pages.socket"
	restore "$t/$1"
	wait "$daemon" || fail "$2 ended with $?"
	wait "$dump" || fail "$3 ended with $?"
	await gone "$pid"
	right
}

echo "--- our dump, criu's daemon"
subject
mkdir "$t/a"
"$BUILD/tests/programs/imager" "$pid" "dump,$t/a,lazy=9001" > "$t/imager.out" 2> "$t/imager.err" &
dump=$!
await test -e "$t/a/inventory.img"
criu lazy-pages --page-server --address 127.0.0.1 --port 9001 -D "$t/a" -o lazy.log -v2 &
daemon=$!
fed a "criu lazy-pages" "our dump"

echo "--- criu's dump, our daemon"
subject
mkdir "$t/b"
criu dump -t "$pid" -D "$t/b" -o dump.log -v2 --shell-job --lazy-pages --port 9002 &
dump=$!
await listens 9002
"$BUILD/dray" lazy-pages -D "$t/b" --page-server --address 127.0.0.1 --port 9002 > "$t/feeder.out" 2> "$t/feeder.err" &
daemon=$!
fed b "our daemon" "criu dump"

echo "--- ours and ours"
subject
mkdir "$t/c"
"$BUILD/dray" dump -t "$pid" -D "$t/c" --lazy-pages --port 9003 --shell-job > "$t/imager.out" 2> "$t/imager.err" &
dump=$!
await test -e "$t/c/inventory.img"
"$BUILD/dray" lazy-pages -D "$t/c" --page-server --address 127.0.0.1 --port 9003 --ps-layout 32 > "$t/feeder.out" 2> "$t/feeder.err" &
daemon=$!
fed c "our daemon" "our dump"

restorer=$BUILD/dray
export DRAY_ENGINE=native
echo "--- our dump, criu's daemon, our restore"
subject
mkdir "$t/d"
"$BUILD/dray" dump -t "$pid" -D "$t/d" --lazy-pages --port 9004 --shell-job > "$t/imager.out" 2> "$t/imager.err" &
dump=$!
await test -e "$t/d/inventory.img"
criu lazy-pages --page-server --address 127.0.0.1 --port 9004 -D "$t/d" -o lazy.log -v2 &
daemon=$!
fed d "criu lazy-pages" "our dump"

echo "--- criu's dump, criu's daemon, our restore"
subject
mkdir "$t/e"
criu dump -t "$pid" -D "$t/e" -o dump.log -v2 --shell-job --lazy-pages --port 9005 &
dump=$!
await listens 9005
criu lazy-pages --page-server --address 127.0.0.1 --port 9005 -D "$t/e" -o lazy.log -v2 &
daemon=$!
fed e "criu lazy-pages" "criu dump"
echo "ok"
