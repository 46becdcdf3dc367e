#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Image directories that stock criu writes are restored here: every kind of thing that a process can hold and that both know, each in a process
# of its own that checks itself afterwards; one in the middle of waits, timers and signals; with shared memory, with parents. What stock
# criu can dump and we can't restore is refused by name, and leaves nothing.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
export BUILD
command -v criu > /dev/null || { echo "criu is not installed"; exit 77; }
[ -n "${IN_VM:-}" ] || exec tests/vm/run-in-vm --timeout 400 --env IN_VM=1 --env "BUILD=$BUILD" -- "$PWD/$0" "$@"

t=$(mktemp -d)
chmod 755 "$t"
log=$t/restorer.err
fail() { echo "FAILED: $*"; cat "$log" 2> /dev/null; exit 1; }
await() { local n=0; until "$@"; do n=$((n + 1)); [ $n -lt 600 ] || fail "never came true: $*"; sleep 0.1; done; }
restorer=$BUILD/tests/programs/restorer

# start NAME COMMAND...: a process in a session of its own; $p, its folder $d. It writes $d/work/ready.
start() {
	d=$t/$1
	shift
	mkdir -p "$d/work" "$d/img"
	chmod 777 "$d/work"
	setsid "$@" < /dev/null > /dev/null 2>&1 &
	p=$!
}
dump() { criu dump -t "$p" -D "$d/img" -o dump.log "$@" || { grep -m 3 Error "$d/img/dump.log"; fail "stock criu can't dump $d"; }; wait "$p" 2> /dev/null || true; }
# The process is the restorer's child, which waits for its end.
restore() { "$restorer" "$d/img" wait "$@" > "$d/restored" 2> "$log" & r=$!; await grep -q "^restored\|^failed" "$d/restored"; grep -q "^restored $p " "$d/restored" || fail "$d"; }
finish() { kill -9 "$p"; wait "$r" 2> /dev/null || true; }

kinds="file dup directory devices pipe lone-pipe fifo timerfd signalfd epoll inotify memfd owner packet-pairs half-pair unix-names tcp udp
	signals attributes threads robust credentials memory mapped-files advice timers"
for kind in ${*:-$kinds}; do
	start "$kind" "$BUILD/subjects/zoo" "$t/$kind/work" "$kind"
	await test -e "$d/work/ready"
	dump
	restore
	touch "$d/work/request"
	await test -e "$d/work/verdict"
	[ "$(cat "$d/work/verdict")" = ok ] || fail "$(cat "$d/work/verdict")"
	finish
	echo "ok: $kind, $(sed -n 's/^restored [0-9]* //p' "$d/restored")"
done
