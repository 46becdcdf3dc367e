#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `dray migrate` and its keeper both killed before the freeze: the process runs on, and the cgroup that it was given is taken away by `dray recover`, by the next
# `dray migrate` or by an agent that starts. A keeper that finds the record in other hands meanwhile lets the process run on all the same.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
[ -n "${host_cgroup[a]}" ] || skip "no cgroup v2 here"

cgroup_left() { [ -n "$(find "${host_cgroup[a]}" -mindepth 1 -type d -name 'dray-*')" ]; }
no_cgroup_left() { ! cgroup_left; }
# Its record, with the lock that goes with it, and nothing else.
no_record_left() { [ -z "$(find "$T/state-a" -name '*.source*')" ]; }
runs_on() {
	subject_present a || fail "$1: the process is gone"
	advances
	subject_right a
}

both_killed() {
	local keeper
	stopped_at source.armed
	keeper=$(child_of "${pid[migrate]}") || fail "no keeper"
	kill -KILL "$keeper"
	kill -KILL "${pid[migrate]}"
	finish migrate || true
	await 10 gone "$keeper"
	cgroup_left || fail "there was nothing to take away"
	runs_on "both killed"
}

subject_start
both_killed
on a "$DRAY" recover --list --state-dir "$T/state-a" > "$T/list"
grep -q ' armed ' "$T/list" || fail "not listed: $(cat "$T/list")"
cgroup_left || fail "--list took something away"
on a "$DRAY" recover --state-dir "$T/state-a" || fail "recover: $?"
no_cgroup_left && no_record_left || fail "recover left something behind"
runs_on "recover"
report "dray recover takes it away"

both_killed
start a next "$DRAY" agent --listen "${host_addr[a]}:$PORT" --insecure --state-dir "$T/state-a"
await 20 grep -q '^listening on ' "$T/next.out"
no_cgroup_left && no_record_left || fail "an agent left something behind"
runs_on "an agent"
end next
report "an agent that starts takes it away"

both_killed
migrate || fail "the next migration: $(tail -n 3 "$T/migrate.err")"
no_cgroup_left && no_record_left || fail "the next migration left something behind"
settled b
report "the next migration takes it away, and moves the process"

subject_start
stopped_at source.armed
keeper=$(child_of "${pid[migrate]}") || fail "no keeper"
kill -STOP "$keeper"
kill -KILL "${pid[migrate]}"
finish migrate || true
lock=$(find "$T/state-a" -name '*.source.lock')
start a locker "$PYTHON" -c '
import fcntl, sys, time
lock = open(sys.argv[1], "r+")
fcntl.lockf(lock, fcntl.LOCK_EX)
open(sys.argv[2], "w").close()
time.sleep(3600)
' "$lock" "$T/locked"
await 20 test -e "$T/locked"
kill -CONT "$keeper"
await 20 gone "$keeper"
runs_on "somebody else has the record"
no_cgroup_left || fail "the keeper left its cgroup behind"
end locker
on a "$DRAY" recover --state-dir "$T/state-a" || fail "recover: $?"
settled a
report "a keeper that finds the record in other hands lets the process run on"
