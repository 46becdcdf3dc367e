#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# criu's verbs and options on a process that knows its own data: dumped while it runs on, in rounds on top of each other, stopped, killed;
# restored detached, waited for, as the child of a command. Its memory is right each time.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
. tests/lib/images.sh
. tests/lib/criu.sh

state() { sed 's/.*) \(.\).*/\1/' "/proc/$subject/stat" 2> /dev/null; }
is_stopped() { [ "$(state)" = T ]; }
mkdir "$T"/run "$T"/0 "$T"/1 "$T"/2 "$T"/wd "$T"/stop
workload

criu dump --tree "$subject" --images-dir "$T/run" --leave-running -o dump.log -v4 || fail "dump of what runs on: $(cat "$T/run/dump.log")"
test -s "$T/run/dump.log" || fail "no log"
workload_right

criu pre-dump -t "$subject" -D "$T/0" || fail "pre-dump"
criu pre-dump -t "$subject" -D "$T/1" -W "$T/wd" --prev-images-dir ../0 --track-mem || fail "pre-dump on top of another"
[ -e "$T/wd/stats-dump" ] && [ ! -e "$T/1/stats-dump" ] || fail "the work directory was not used"
workload_right
criu dump -t "$subject" -D "$T/2" --prev-images-dir ../1 --track-mem --display-stats 2> "$T/err" || fail "dump: $(cat "$T/err")"
grep -q 'written=' "$T/err" || fail "no statistics: $(cat "$T/err")"
[ "$(readlink "$T/2/parent")" = ../1 ] || fail "no link to the parent"
[ "$(stat -c %s "$T"/2/pages-1.img)" -lt "$(stat -c %s "$T"/0/pages-1.img)" ] || fail "the last round has all pages again"
ended

criu restore --restore-detached -D "$T/2" -W "$T/wd" --pidfile root || fail "restore"
[ "$(cat "$T/wd/root")" = "$subject" ] || fail "the PID file says $(cat "$T/wd/root")"
workload_right
fails 1 'pid file root' criu restore -d -D "$T/2" -W "$T/wd" --pidfile root
fails 1 "PID $subject is taken here" criu restore -d -D "$T/2" -W "$T/wd" --pidfile another
[ ! -e "$T/wd/another" ] || fail "a failed restore left its PID file"
workload_right

criu dump -t "$subject" -D "$T/stop" -s || fail "dump that stops"
await 10 is_stopped
kill -CONT "$subject"
workload_right
kill -KILL "$subject"
ended

# Without -d it waits. criu's own says nothing of how the root ended; dray does.
criu restore -D "$T/2" & waiter=$!
rm -f "$T/report"
await 60 test -e "/proc/$subject"
workload_right
kill -KILL "$subject"
rc=0; wait "$waiter" || rc=$?
[ "$rc" = 0 ] || fail "criu restore ended with $rc"
"$BUILD/dray" restore -D "$T/2" & waiter=$!
await 60 test -e "/proc/$subject"
workload_right
kill -KILL "$subject"
rc=0; wait "$waiter" || rc=$?
[ "$rc" = 137 ] || fail "dray restore ended with $rc, its root by SIGKILL"

# The command that stands behind -- has the root for its child.
# shellcheck disable=SC2016
criu restore -D "$T/2" --exec-cmd -- sh -c 'cat /proc/$$/task/$$/children; exit 7' > "$T/children" 2> "$T/err" && fail "no exit status" || rc=$?
[ "$rc" = 7 ] || fail "the command's exit status is $rc: $(cat "$T/err")"
grep -qw "$subject" "$T/children" || fail "the root is not the command's child: $(cat "$T/children")"
workload_right
fails 1 'exclude each other' criu restore -d -D "$T/2" --exec-cmd -- true
fails 1 'no whole set of images is there' "$BUILD/dray" restore -d -D "$T/wd" # and not that a process is gone (4)
fails 1 'wants --restore-detached' criu restore -S -D "$T/2"
echo "ok: dumped and restored by criu's verbs"
