#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The guard of a process whose pages are on their way is killed, before the process runs and after: another one takes its place, so that a session which is
# killed then still leaves nobody reading zeros; and where nothing else happens every page comes and no guard stays.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin without-agent
CHILDREN=8
called() { processes_of "$1" | while read -r p _ state; do [ "$state" = Z ] || [ "$(cat "/proc/$p/comm" 2> /dev/null)" != "$2" ] || echo "$p"; done; }
guard_but() { guard=$(called b dray-guard); [ -n "$guard" ] && [ "$guard" != "$1" ]; }
waiting() { local n=0 p; for p in $(called b forker); do ! grep -qs handle_userfault "/proc/$p/wchan" || n=$((n + 1)); done; [ "$n" -ge "$CHILDREN" ]; }
no_copies() { [ -z "$(called b forker)" ]; }
done_on() { [ "$(called "$1" forker | wc -l)" = 1 ]; }
is_stopped_there() { [ -n "$(stopped_on b)" ]; }
kill_guard() { await 30 guard_but none; last=$guard; kill -KILL "$guard"; }
# The process runs there, its children wait for pages that nobody sends. The guard was killed before it ran, and is now.
moved_without_guards() {
	rm -f "$T/go" "$T/ready" "$T/zero"
	DRAY_FAULT=destination.prepared:stop agent_start b
	start a subject "$BUILD/tests/programs/forker" "$T" 16 "$CHILDREN"
	await 60 test -e "$T/ready"
	FAULT=source.late:stop migrate_start --postcopy --tracker none
	await 30 is_stopped_there
	session=$(stopped_on b)
	kill_guard
	kill -CONT "$session"
	await 30 is_stopped_on a
	await 30 guard_but "$last"
	touch "$T/go"
	await 60 waiting
	for _ in 1 2 3; do
		kill_guard
		await 30 guard_but "$last"
	done
}

# And then it ends, and nothing is left.
original_right() {
	await 60 done_on a
	[ ! -e "$T/zero" ] || fail "the original has zeros"
	kill -KILL "${pid[subject]}"
	finish subject || true
	agent_stop b || fail "the agent did not drain"
	nothing_left a
	nothing_left b
}

moved_without_guards
kill -KILL "$session"
await 60 no_copies
[ ! -e "$T/zero" ] || fail "a child read zeros where a page was missing"
rc=0; finish migrate || rc=$?
told_right "$rc" a
touch "$T/go"
original_right
report "guards killed, then the session: the copy is ended"

moved_without_guards
kill -CONT "$(stopped_on a)"
rc=0; finish migrate || rc=$?
told_right "$rc" b
await 60 done_on b
[ ! -e "$T/zero" ] || fail "somebody read zeros"
[ -z "$(called b dray-guard)" ] || fail "a guard stayed"
kill -KILL "$(called b forker)"
finish subject || true
agent_stop b || fail "the agent did not drain"
nothing_left a
nothing_left b
report "guards killed: every page came"

# The session is killed before it has looked after its guard behind the commit, and nobody else is there to end the process.
rm -f "$T/go" "$T/ready" "$T/zero"
DRAY_FAULT=destination.prepared:stop,destination.running:stop agent_start b
start a subject "$BUILD/tests/programs/forker" "$T" 16 "$CHILDREN"
await 60 test -e "$T/ready"
migrate_start --postcopy --tracker none
await 30 is_stopped_there
session=$(stopped_on b)
kill_guard
guardless() { [ -z "$(called b dray-guard)" ]; }
await 30 guardless # the session must see that it has ended
kill -CONT "$session"
await 30 guard_but "$last"
await 30 is_stopped_there
kill -STOP "${pid[agent-b]}"
touch "$T/go"
held() { local p; for p in $(called b forker); do ! grep -qs userfault "/proc/$p/wchan" || return 0; done; false; } # it waits for us to hear that it forks
await 60 held
kill -KILL "$session"
await 60 no_copies
[ ! -e "$T/zero" ] || fail "a child read zeros where a page was missing"
kill -CONT "${pid[agent-b]}"
rc=0; finish migrate || rc=$?
told_right "$rc" a
original_right
report "the guard killed before the commit, and the session behind it: the copy is ended"
