#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# We pre-dump a process that writes all the time and dump it, by the name criu, each into a page server of Debian's criu that has the round before as
# parent; stock criu restores from what its servers wrote, and the process finds its memory right. So does redis-server, dumped behind two pre-dumps.
. "$(dirname "$0")/../lib/vm.sh"
needs criu redis-server redis-cli
in_vm 560
. tests/lib/vm_workload.sh
fail() { echo "FAILED: $*"; tail -n 20 "$t"/*.log "$t"/*.out "$t"/*/log 2> /dev/null; exit 1; }
ln -s "$BUILD/dray" "$t/criu"
stock=$(command -v criu)
port=7400

echo 20000 > /proc/sys/kernel/ns_last_pid
subject_start --size 16M --rate 1 --pattern uniform --data heap --threads 2

round() { # NAME PID VERB ROUND [parent]: a stock server for it, then our sender
	local sent=$t/$1-sent- got=$t/$1-got-
	port=$((port + 1))
	mkdir "$sent$4" "$got$4"
	"$stock" page-server -d -D "$got$4" --port $port -o "$got$4/log" -v4 --pidfile "$t/server-$1-$4" ${5:+--prev-images-dir "../$1-got-$(($4 - 1))"} ||
		fail "the stock server"
	"$t/criu" "$3" -t "$2" -D "$sent$4" -o "$sent$4/log" -v4 --shell-job --track-mem --page-server --address 127.0.0.1 --port $port \
		${5:+--prev-images-dir "../$1-sent-$(($4 - 1))"} || fail "$1: $3, round $4"
	await gone "$(cat "$t/server-$1-$4")"
	ls "$got$4/pagemap-$2.img" > /dev/null || fail "the stock server wrote no page map"
}
restored() { # NAME PID: of three rounds
	await gone "$2"
	cp -n "$t/$1"-sent-3/*.img "$t/$1-got-3/"
	"$stock" restore -D "$t/$1-got-3" -o "$t/$1-restore.log" -v4 --shell-job -d || { tail -n 30 "$t/$1-restore.log"; fail "restore"; }
}
round subject "$subject" pre-dump 1
round subject "$subject" pre-dump 2 parent
round subject "$subject" dump 3 parent
restored subject "$subject"
right "$subject"
kill "$subject"
echo "ok: three rounds arrived, memory right"

redis() { redis-cli -s "$t/redis.sock" "$@"; }
answers() { [ "$(redis ping 2> /dev/null)" = PONG ]; }
setsid redis-server --port 0 --unixsocket "$t/redis.sock" --save '' --appendonly no --enable-debug-command local --dir "$t" --logfile "$t/redis.log" < /dev/null > /dev/null 2>&1 &
await answers
pid=$(redis info server | tr -d '\r' | sed -n 's/^process_id://p')
redis debug populate 4000 first 512 > /dev/null
round redis "$pid" pre-dump 1
redis debug populate 1000 second 512 > /dev/null
round redis "$pid" pre-dump 2 parent
redis set third 3 > /dev/null
digest=$(redis debug digest)
[[ $digest =~ ^[0-9a-f]{40}$ ]] || fail "redis has no digest: $digest"
round redis "$pid" dump 3 parent
for n in 2 3; do grep -q ' in_parent=[1-9]' "$t/redis-sent-$n/log" || fail "round $n left nothing to its parent"; done
restored redis "$pid"
await answers
[ "$(redis dbsize)" = 5001 ] && [ "$(redis debug digest)" = "$digest" ] || fail "redis has other data"
redis shutdown nosave 2> /dev/null || true
echo "ok: redis-server, three rounds, its keys"
