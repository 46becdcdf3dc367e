#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Image directories that stock criu writes are restored here: every kind of thing that a process can hold and that both know, each in a process
# of its own that checks itself afterwards; one in the middle of waits, timers and signals; with shared memory, with parents. What stock
# criu can dump and we can't restore is refused by name, and leaves nothing.
. "$(dirname "$0")/../lib/vm.sh"
needs criu
in_vm 560 "$@"

chmod 755 "$t"
log=$t/restorer.err
fail() { echo "FAILED: $*"; cat "$log" 2> /dev/null; exit 1; }
restorer=$BUILD/tests/programs/restorer

# start NAME COMMAND...: a process in a session of its own; $p, its folder $d
start() {
	d=$t/$1
	shift
	mkdir -p "$d/dir" "$d/img"
	chmod 777 "$d/dir"
	setsid "$@" < /dev/null > /dev/null 2>&1 &
	p=$!
	disown
}
dumped() { criu "$1" -t "$p" -D "$d/$2" -o dump.log "${@:3}" || { grep -m 3 Error "$d/$2/dump.log"; fail "stock criu can't $1 $d"; }; }
dump() { dumped dump "$@"; await gone "$p"; }
# The process is the restorer's child, which waits for its end.
restore() {
	"$restorer" "$d/$1" wait "${@:2}" > "$d/restored" 2> "$log" &
	await grep -q "^restored\|^failed" "$d/restored"
	grep -q "^restored $p " "$d/restored" || fail "$d"
}
finish() { kill -9 "$p"; await gone "$p"; echo "ok: $1, $(sed -n 's/^restored [0-9]* //p' "$d/restored")"; }
refused() {
	"$restorer" "$d/img" > "$d/restored" 2> "$log" && fail "$1 was restored" || true
	grep -q "$2" "$log" || fail "$1: not refused by \"$2\""
	grep -q "^failed [a-z]* 0 -1$" "$d/restored" || fail "$(cat "$d/restored")"
	! kill -0 "$p" 2> /dev/null || fail "$1 left process $p"
	echo "ok: $(cat "$log")"
}

# Not in the images of 3.17: which eventfd is a semaphore, TCP_NODELAY of a listener, timer slack, ambient capabilities, MADV_WIPEONFORK, and that sleeps
# go on (one that was cut short ends with EINTR).
kinds="file dup directory devices pipe lone-pipe fifo timerfd signalfd epoll inotify memfd owner packet-pairs half-pair unix-names udp signals
	robust memory mapped-files timers"
chosen=$#
[ $# -gt 0 ] || set -- $kinds
for kind; do
	start "$kind" "$BUILD/subjects/zoo" "$t/$kind/dir" "$kind"
	await test -e "$d/dir/ready"
	dump img
	restore img
	touch "$d/dir/request"
	await test -e "$d/dir/verdict"
	[ "$(cat "$d/dir/verdict")" = ok ] || fail "$(cat "$d/dir/verdict")"
	finish "$kind"
done
[ "$chosen" = 0 ] || exit 0

# Threads that write all the time, two pre-dumps, a dump: three sets, of which each holds a part.
start rounds "$BUILD/subjects/workload" --size 16M --rate 2 --pattern hot --data heap --threads 2 --verify --ready "$t/rounds/dir/ready" \
	--report "$t/rounds/dir/report"
await test -e "$d/dir/ready"
mkdir "$d/0" "$d/1"
dumped pre-dump 0 --track-mem
dumped pre-dump 1 --track-mem --prev-images-dir ../0
dump img --track-mem --prev-images-dir ../1
restore img
kill -USR1 "$p"
await test -s "$d/dir/report"
grep -q '"verdict":"right"' "$d/dir/report" || fail "its memory is wrong: $(cat "$d/dir/report")"
[ "$(stat -c %s "$d"/img/pages-1.img)" -lt $((16 << 20)) ] || fail "the last set holds all of it: parents were not used"
finish "a workload and its parents"

# A redis-server with data, and a parent. Its pages are given back as they are read.
start redis redis-server --port 7379 --save "" --daemonize no --dir "$t" --logfile /dev/null --enable-debug-command local
await sh -c "redis-cli -p 7379 ping 2> /dev/null | grep -q PONG"
redis-cli -p 7379 eval 'for i = 1, 4000 do redis.call("set", "key:" .. i, string.rep(tostring(i), 100)) end' 0 > /dev/null
mkdir "$d/0"
dumped pre-dump 0 --track-mem
redis-cli -p 7379 set after pre-dump > /dev/null
redis-cli -p 7379 debug digest > "$d/before"
grep -Eqx '[0-9a-f]{40}' "$d/before" || fail "redis has no digest: $(cat "$d/before")"
dump img --track-mem --prev-images-dir ../0 --tcp-close
held=$(stat -c %b "$d/0/pages-1.img")
restore img tcp-close auto-dedup
redis-cli -p 7379 debug digest > "$d/after"
cmp "$d/before" "$d/after" || fail "redis has other data"
[ "$(redis-cli -p 7379 incr counter)" = 1 ] || fail "redis does not count"
pages=$(sed -n 's/^restored .* pages=\([0-9]*\) .*/\1/p' "$d/restored")
left=$((pages - $(stat -c %s "$d/img/pages-1.img") / 4096)) now=$(stat -c %b "$d/0/pages-1.img")
[ "$left" -ge 100 ] && [ $((held - now)) -ge $((left * 8)) ] || fail "the parent's pages were not given back: of $left from it, $held blocks, now $now"
echo "ok: redis and its parent, $(sed -n 's/^restored [0-9]* //p' "$d/restored")"
redis=$p

# What stock criu knows and we don't.
start tcp bash -c 'exec 9<> /dev/tcp/127.0.0.1/7379 && exec sleep 1000'
await sh -c "readlink /proc/$p/exe | grep -q sleep"
dump img --tcp-close
refused "a TCP connection" "a restore must be told tcp_close too"
restore img tcp-close
readlink "/proc/$p/fd/9" | grep -q socket || fail "the socket of a connection is $(readlink "/proc/$p/fd/9")"
finish "a TCP connection that was let go"
kill -9 "$redis"
start child sh -c 'sleep 1000 & exec sleep 1000'
await sh -c "readlink /proc/$p/exe | grep -q sleep"
dump img
refused "a child" "task $p: it has a child"
start lock bash -c "exec 9> $t/lock/file; flock 9; exec sleep 1000"
await sh -c "readlink /proc/$p/exe | grep -q sleep"
dump img --file-locks
refused "a lock" "task $p fd 9: file lock (flock)"
start deleted bash -c "exec 9> $t/deleted/file; rm $t/deleted/file; exec sleep 1000"
await sh -c "readlink /proc/$p/exe | grep -q sleep"
dump img
refused "a deleted file" "task $p fd 9: deleted file /.*/deleted/file"
start space unshare --uts sleep 1000
await sh -c "readlink /proc/$p/exe | grep -q sleep"
dump img
refused "a namespace" "task $p: a UTS namespace of its own"
echo "ok: all that stock criu dumped"
