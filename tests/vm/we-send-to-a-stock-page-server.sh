#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# We pre-dump a process that writes all the time and dump it, by the name criu, each into a page server of Debian's criu that has the round before as
# parent; stock criu restores from what its servers wrote, and the process finds its memory right.
. "$(dirname "$0")/../lib/vm.sh"
needs criu
in_vm 560
. tests/lib/vm_workload.sh
fail() { echo "FAILED: $*"; tail -n 20 "$t"/*.log "$t"/*.out "$t"/*/log 2> /dev/null; exit 1; }
ln -s "$BUILD/dray" "$t/criu"
stock=$(command -v criu)
port=7400

echo 20000 > /proc/sys/kernel/ns_last_pid
subject_start --size 16M --rate 1 --pattern uniform --data heap --threads 2

round() { # VERB ROUND [OPTION...]: a stock server for it, then our sender
	port=$((port + 1))
	mkdir "$t/sent-$2" "$t/got-$2"
	"$stock" page-server -d -D "$t/got-$2" --port $port -o "$t/got-$2/log" -v4 --pidfile "$t/server-$2" ${3:+--prev-images-dir "../got-$((${2} - 1))"} ||
		fail "the stock server"
	"$t/criu" "$1" -t "$subject" -D "$t/sent-$2" -o "$t/sent-$2/log" -v4 --shell-job --track-mem --page-server --address 127.0.0.1 --port $port \
		${3:+--prev-images-dir "../sent-$((${2} - 1))"} || fail "$1, round $2"
	await gone "$(cat "$t/server-$2")"
	ls "$t/got-$2/pagemap-$subject.img" > /dev/null || fail "the stock server wrote no page map"
}
round pre-dump 1
round pre-dump 2 parent
round dump 3 parent
await gone "$subject"
cp -n "$t"/sent-3/*.img "$t/got-3/"
"$stock" restore -D "$t/got-3" -o "$t/got-3/restore.log" -v4 --shell-job -d || { tail -n 30 "$t/got-3/restore.log"; fail "restore"; }
right "$subject"
kill "$subject"
echo "ok: three rounds arrived, memory right"
