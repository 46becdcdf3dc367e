#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Stock criu restores what Drayage dumped, on a kernel with soft-dirty tracking: after two pre-dumps by callers that shared nothing, a process that
# writes all the time has its memory right; a process that holds one of everything has all of it; redis-server has its keys.
. "$(dirname "$0")/../lib/vm.sh"
needs criu
in_vm 560
. tests/lib/images.sh

restore() { # DIR
	criu restore -D "$1" -d -v4 -o restore.log || { grep Error "$1/restore.log"; fail "criu restore of $1"; }
}

workload
imager pre-dump,"$T/0"
imager pre-dump,"$T/1",parent=../0
imager dump,"$T/2",parent=../1,track
ended
whole=$(head -n 1 "$T/imager.out" | sed 's/.* written=\([0-9]*\).*/\1/') last=$(told written dump)
[ "$last" -lt $((whole / 2)) ] && [ $(($(told parent dump) + last)) -ge "$whole" ] || fail "the dump is not incremental: $(cat "$T/imager.out")"
restore "$T/2"
workload_right
kill -KILL "$subject"
echo "ok: workload, $whole and then $last pages written"

# What stock 3.17 can't carry itself is not asked of it: semaphore eventfds, seals of memory files, TCP_NODELAY of listeners, timer slack, ambient
# capabilities.
zoo file dup directory devices pipe lone-pipe fifo timerfd signalfd epoll inotify owner memory mapped-files advice stream-pair packet-pairs half-pair \
	unix-names udp signals timers threads robust
imager pre-dump,"$T/zoo-0"
imager dump,"$T/zoo-1",parent=../zoo-0,track
ended
restore "$T/zoo-1"
zoo_right
kill -KILL "$subject"
echo "ok: one of everything"

if command -v redis-server > /dev/null; then
	launch redis-server --port 0 --unixsocket "$T/redis" --save '' --enable-debug-command yes --dir "$T"
	cli() { redis-cli -s "$T/redis" "$@"; }
	await 30 sh -c "redis-cli -s '$T/redis' ping 2> /dev/null | grep -q PONG"
	cli debug populate 2000 first 64 > /dev/null
	imager pre-dump,"$T/redis-0"
	cli debug populate 1000 second 64 > /dev/null
	imager pre-dump,"$T/redis-1",parent=../redis-0
	cli set third 3 > /dev/null
	sum=$(cli debug digest)
	imager dump,"$T/redis-2",parent=../redis-1,track
	ended
	restore "$T/redis-2"
	[ "$(cli dbsize)" = 3001 ] && [ "$(cli debug digest)" = "$sum" ] || fail "redis-server has not what it had: $(cli dbsize) keys"
	echo "ok: redis-server, $(told written dump) pages in the dump"
fi
