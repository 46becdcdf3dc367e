#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent is killed while sessions of its are under way, and started again: status and metrics of the new one have them, with all that came for them
# before, and know how each ended, although nobody came for them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin without-agent
value() { # metric
	PYTHONPATH="$hosts_root/tests/lib" PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -c \
		'import sys; from prometheus import metrics; print("%d" % metrics("unix:" + sys.argv[1])[sys.argv[2]])' "$T/m" "$1"
}
is() { [ "$(value "$1")" = "$2" ]; }
session() { # field of the one that is shown
	"$DRAY" status "unix:$T/m" --json | "$PYTHON" -c 'import json, sys; one, = json.load(sys.stdin)["sessions"]; print(one[sys.argv[1]])' "$1" 2> /dev/null
}
shows() { [ "$(session "$1")" = "$2" ]; }
shows_none() { "$DRAY" status "unix:$T/m" --json | "$PYTHON" -c 'import json, sys; sys.exit(json.load(sys.stdin)["sessions"] != [])'; }
agent() { agent_start b --metrics "unix:$T/m"; }
another_agent() { agent_kill b; agent; }
# A migration that stands still at a point of the source's, and its agent was killed there, twice.
under_way() { # point, state, option...
	agent
	subject_start --size 16M --rate 20
	stopped_at "$1" "${@:3}"
	await 20 shows state "$2"
	was=$(session directory) pages=$(session pages) peer=$(session peer)
	another_agent
	another_agent
	await 20 shows state "$2"
	shows directory "$was" || fail "shown: $(session directory), and not $was"
	shows peer "$peer" || fail "shown: $(session peer), and not $peer"
	[ "$(session pages)" -ge "$pages" ] && [ "$pages" -gt 1000 ] || fail "$(session pages) pages, $pages before"
	is dray_agent_migrations_running 1 || fail "running: $(value dray_agent_migrations_running)"
}

under_way source.late late-pages --postcopy
kill -CONT $(stopped_on a)
rc=0; finish migrate || rc=$?
told_right "$rc" b
await 20 is 'dray_agent_migrations_ended_total{outcome="success"}' 1
await 20 shows_none
is dray_agent_migrations_running 0 || fail "running: $(value dray_agent_migrations_running)"
settled b
agent_stop b || fail "the agent did not drain"
report "post-copy: shown, and its end"

under_way source.round receiving
kill -CONT $(stopped_on a)
rc=0; finish migrate || rc=$?
told_right "$rc" b
await 20 is 'dray_agent_migrations_ended_total{outcome="success"}' 1
[ "$(value dray_agent_rounds_total)" -gt 0 ] && [ "$(value dray_agent_pages_total)" -gt 0 ] || fail "what came since was not counted"
settled b
agent_stop b || fail "the agent did not drain"
report "a round: shown, and what came since is counted"

under_way source.round receiving
session_pid=$(grep -l 'dray-husk' /proc/[0-9]*/comm 2> /dev/null | while IFS=/ read -r _ _ p _; do
	[ ! "/proc/$p/ns/net" -ef "/proc/${host_init[b]}/ns/net" ] || awk '/^PPid:/ { print $2 }' "/proc/$p/status"; done)
kill -KILL "$session_pid"
await 20 is 'dray_agent_migrations_ended_total{outcome="killed"}' 1
await 20 shows_none
kill -CONT $(stopped_on a)
rc=0; finish migrate || rc=$?
told_right "$rc" a
settled a
agent_stop b || fail "the agent did not drain"
report "killed: known as that"
