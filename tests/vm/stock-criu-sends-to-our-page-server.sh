#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Debian's criu pre-dumps a redis-server twice and dumps it, all into one page server of ours that chains the rounds, and restores it from what
# was published there: no key is lost. A second tree is dumped into the same server meanwhile.
. "$(dirname "$0")/../lib/vm.sh"
needs criu redis-server redis-cli
in_vm 560

fail() { echo "FAILED: $*"; tail -n 20 "$t"/*.err "$t"/*/*.log 2> /dev/null; exit 1; }
redis() { redis-cli -s "$t/redis.sock" "$@"; }
fill() { # FROM TO: keys that are written over and over, so that each round has something to send
	for ((i = $1; i < $2; i++)); do printf 'SET key:%d %s\r\n' "$i" "$(printf '%0512d' "$((i * 7919))")"; done | redis > /dev/null
}

echo 20000 > /proc/sys/kernel/ns_last_pid
setsid redis-server --port 0 --unixsocket "$t/redis.sock" --save '' --appendonly no --enable-debug-command local --dir "$t" --logfile "$t/redis.log" < /dev/null > /dev/null 2>&1 &
await sh -c "redis-cli -s $t/redis.sock ping 2> /dev/null | grep -q PONG"
pid=$(redis info server | tr -d '\r' | sed -n 's/^process_id://p')
setsid sleep 1000 < /dev/null > /dev/null 2>&1 &
other=$!

mkdir "$t/server"
"$BUILD/dray" page-server -D "$t/server" --chain > "$t/server.out" 2> "$t/server.err" &
server=$!
await grep -q listening "$t/server.out"
port=$(sed 's/.*://' "$t/server.out")
send() { # VERB ROUND PID [OPTION...]
	mkdir "$t/$2"
	criu "$1" -t "$3" -D "$t/$2" -o log -v2 --shell-job --page-server --address 127.0.0.1 --port "$port" "${@:4}" || fail "criu $1, round $2"
}
fill 0 4000
send pre-dump r1 "$pid" --track-mem
fill 1000 1500
send pre-dump r2 "$pid" --track-mem --prev-images-dir ../r1
fill 3000 3200
digest=$(redis debug digest)
[[ $digest =~ ^[0-9a-f]{40}$ ]] || fail "redis has no digest: $digest"
keys=$(redis dbsize)
send dump r3 "$pid" --track-mem --prev-images-dir ../r2
await gone "$pid"
send dump other "$other"

published() { [ "$(grep -c session-published "$t/server.err")" = 4 ]; } # said behind the answer
await published
[ "$(readlink "$t/server/3/parent")" = ../2 ] && [ "$(readlink "$t/server/2/parent")" = ../1 ] || fail "the rounds are not chained"
grep -q 'session-published .*in-parent=[1-9]' "$t/server.err" || fail "no page was left out: nothing was incremental"
grep -q 'header=24' "$t/server.err" || fail "not the layout that Debian's criu has"
cp "$t"/r3/*.img "$t/server/3/"
rm -f "$t/redis.sock"
criu restore -D "$t/server/3" -o log -v2 --shell-job -d || fail "criu restore"
await sh -c "redis-cli -s $t/redis.sock ping 2> /dev/null | grep -q PONG"
[ "$(redis dbsize)" = "$keys" ] || fail "keys are missing"
[ "$(redis debug digest)" = "$digest" ] || fail "the data is not what it was"
redis shutdown nosave 2> /dev/null || true
kill "$server"
wait "$server" || fail "the page server ended with $?"
sed -n 's/.* \(session [0-9]*\).*session-published/\1/p' "$t/server.err"
echo "ok: two pre-dumps and a dump arrived, and redis-server runs on from them"
