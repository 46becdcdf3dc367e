#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Pages that come after a restore, between Debian's criu and us: criu's lazy-pages daemon fetches from our page server, which has them stored; and by TLS
# from our lazy dump, our daemon from criu's lazy dump. The program checks all its memory.
. "$(dirname "$0")/../lib/vm.sh"
needs criu openssl
in_vm 560

t=$(mktemp -d)
fail() { echo "FAILED: $*"; tail -n 20 "$t"/*.err "$t"/*/*.log 2> /dev/null; exit 1; }
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

mkdir "$t/certs" && tests/lib/make-certs "$t/certs"
creds() { echo "--tls --tls-cacert $t/certs/ca.pem --tls-cert $t/certs/$1.pem --tls-key $t/certs/$1.key"; }
crius_daemon() { # DIR PORT [OPTION...]
	criu lazy-pages --page-server --address 127.0.0.1 --port "$2" -D "$t/$1" -o lazy.log -v4 "${@:3}" &
	daemon=$!
}

echo "--- our stored images, criu's daemon"
subject
mkdir "$t/s"
"$BUILD/dray" dump -t "$pid" -D "$t/s" --shell-job > "$t/dump.out" 2> "$t/dump.err"
cp -r "$t/s" "$t/a"
"$BUILD/dray" page-server --once --lazy-pages -D "$t/s" --port 9001 > "$t/server.out" 2> "$t/server.err" &
dump=$!
await grep -q listening "$t/server.out"
crius_daemon a 9001
fed a "criu lazy-pages" "our page server"
grep -q 'session-served .*pages=[1-9][0-9][0-9][0-9]' "$t/server.err" || fail "nothing was fetched: $(cat "$t/server.err")"

echo "--- our dump by TLS, criu's daemon"
subject
mkdir "$t/c"
ln -s "$BUILD/dray" "$t/criu"
DRAY_ENGINE=native "$t/criu" dump -t "$pid" -D "$t/c" --lazy-pages --address 127.0.0.1 --port 9003 --shell-job -v4 $(creds host-a) > "$t/imager.out" 2> "$t/imager.err" &
dump=$!
await test -e "$t/c/inventory.img"
crius_daemon c 9003 $(creds host-b)
fed c "criu lazy-pages" "our dump"

echo "--- criu's dump by TLS, our daemon"
subject
mkdir "$t/d"
criu dump -t "$pid" -D "$t/d" -o dump.log -v4 --shell-job --lazy-pages --address 127.0.0.1 --port 9004 $(creds host-a) &
dump=$!
await listens 9004
"$t/criu" lazy-pages -D "$t/d" --page-server --address 127.0.0.1 --port 9004 $(creds host-b) > "$t/feeder.out" 2> "$t/feeder.err" &
daemon=$!
fed d "our daemon" "criu dump"
echo "ok"
