#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Where there is no cgroup v2: a process that runs at the destination forks before any of its pages is there, and its session is killed, or can't go on. Its
# children are ended with it; whose parent had ended before can't be found, waits, and never reads zeros either.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin without-agent
CHILDREN=8 ORPHANS=3
on b umount -a -l -t cgroup2 || skip "can't take cgroup v2 away"
called() { processes_of "$1" | while read -r p _ state; do [ "$state" = Z ] || [ "$(cat "/proc/$p/comm" 2> /dev/null)" != "$2" ] || echo "$p"; done; }
waiting() { local n=0 p; for p in $(called b forker); do ! grep -qs handle_userfault "/proc/$p/wchan" || n=$((n + 1)); done; echo "$n"; }
all_wait() { [ "$(waiting)" = $((CHILDREN + ORPHANS)) ]; }
orphans_alone() { [ "$(called b forker | wc -l)" = "$ORPHANS" ]; }
says_so() { grep -aq " unfed processes=$ORPHANS " "$T/agent-b.err"; }
no_guard() { [ -z "$(called b dray-guard)" ]; }
done_on_a() { [ "$(called a forker | wc -l)" = 1 ]; }

killed() {
	touch "$T/go"
	await 60 all_wait
	kill -KILL "$session"
}
# Room for the orphans' and some children's memory, no more.
out_of_descriptors() {
	local n
	n=$(find "/proc/$session/fd" -mindepth 1 | wc -l)
	prlimit --pid "$session" --nofile=$((n + ORPHANS + 2)):$((n + ORPHANS + 2))
	touch "$T/go"
}
lost() { # what, and how the session ends
	rm -f "$T/go" "$T/ready" "$T/zero"
	agent_start b
	start a subject "$BUILD/tests/programs/forker" "$T" 16 "$CHILDREN" "$ORPHANS"
	await 60 test -e "$T/ready"
	stopped_at source.late --postcopy --tracker none
	grep -qsE '^freezer 2$' "$T/state-b"/*.destination || fail "it is held otherwise: $(cat "$T/state-b"/*.destination)"
	session=$(child_of "${pid[agent-b]}")
	[ "$(cat "/proc/$session/comm")" = dray ] || fail "$session is no session"
	"$2"
	await 60 orphans_alone
	await 60 says_so
	[ "$(waiting)" = "$ORPHANS" ] || fail "orphans that do not wait"
	[ ! -e "$T/zero" ] || fail "somebody read zeros where a page was missing"
	rc=0; finish migrate || rc=$?
	told_right "$rc" a
	await 60 done_on_a # on the original's own pages
	[ "$(waiting)" = "$ORPHANS" ] && [ ! -e "$T/zero" ] || fail "orphans that do not wait"
	kill -KILL $(called b forker)
	await 60 no_guard
	kill -KILL "${pid[subject]}"
	finish subject || true
	agent_stop b || fail "the agent did not drain"
	nothing_left a
	nothing_left b
	report "$1: children ended, orphans wait, none read zeros"
}

lost "session killed" killed
lost "session gives up" out_of_descriptors
