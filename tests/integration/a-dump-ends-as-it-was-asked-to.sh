#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A dump kills, stops or lets run as it was asked; a dump that is refused, killed or that meets what can't be carried lets the process run on, and
# leaves nothing that could be restored.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
[ "$(id -u)" = 0 ] || { echo "not root"; exit 77; }
state() { sed 's/.*) \(.\) .*/\1/' "/proc/$subject/stat" 2> /dev/null || echo gone; }
is() { [ "$(state)" = "$1" ]; }
untouched() { grep -q '^TracerPid:[[:space:]]*0$' "/proc/$subject/status"; }

workload
imager dump,"$T/run",run
[ -e "$T/run/inventory.img" ] || fail "no inventory"
workload_right

for hook in pre-dump query-ext-files post-dump; do
	! imager dump,"$T/refused-$hook",refuse=$hook 2> /dev/null || fail "$hook was refused, and the dump says that it succeeded"
	grep -q "$hook was refused" "$T/imager.err" || fail "said: $(cat "$T/imager.err")"
	[ ! -e "$T/refused-$hook/inventory.img" ] || fail "a set that was refused at $hook could be restored"
	workload_right
done

# Killed while everything is frozen: whoever holds the process lets it go.
mkfifo "$T/never"
"$BUILD/tests/programs/imager" "$subject" dump,"$T/killed",pause=post-dump > "$T/paused" 2> /dev/null 3<> "$T/never" <&3 &
dumper=$!
await 20 grep -q post-dump "$T/paused"
is t || fail "not held at post-dump: $(state)"
kill -KILL $dumper
wait $dumper 2> /dev/null || true
await 20 untouched
workload_right

imager dump,"$T/stopped",stop
await 20 is T
await 20 untouched
kill -CONT "$subject"
workload_right
imager dump,"$T/dead"
ended

launch sh -c 'sleep 1000 & wait'
child_there() { [ -n "$(cat "/proc/$subject/task/$subject/children" 2> /dev/null)" ]; }
await 20 child_there
subjects+=("$(cat "/proc/$subject/task/$subject/children")")
! imager dump,"$T/child" 2> /dev/null || fail "a process with a child was dumped"
grep -q "it has a child" "$T/imager.err" || fail "the obstacle is not named: $(cat "$T/imager.err")"
await 20 untouched
[ ! -e "$T/child/inventory.img" ] || fail "it was dumped"
echo "ok"
