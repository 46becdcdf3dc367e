#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent is killed while a session of its is under way, and started again: the session goes on, and what comes on new connections for it finds it. Pages
# that come by post-copy go on when their connections are cut, and so does a round whose stream is.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
wire_ready() { grep -q '^ready' "$T/cutter.out"; }
wire() { start b cutter "$PYTHON" "$LIB/cutter.py" "${host_addr[b]}:7472" "${host_addr[b]}:$PORT" "$@"; await 10 wire_ready; }
another_agent() { agent_kill b; agent_start b; }
ended_by_itself() { gone "${pid[migrate]}"; }
goes_on() { # what, fault, option...
	subject_start --size 24M --rate 20
	TO=${host_addr[b]}:7472 FAULT=$2:stop migrate_start "${@:3}"
	await 30 is_stopped_on a
	another_agent
	kill -CONT $(stopped_on a)
	await 60 ended_by_itself
	rc=0; finish migrate || rc=$?
	grep -q '^cut' "$T/cutter.out" || fail "$1: nothing was cut"
	told_right "$rc" b
	grep -aq ' session-again ' "$T/agent-b.err" || fail "$1: the new agent found no session: $(tail -n 5 "$T/agent-b.err")"
	end cutter
	settled b
	report "$1: cut after the agent came again, and went on"
}

wire after late
goes_on "post-copy" source.late --postcopy
wire each $((3 << 20))
goes_on "a round" source.armed --downtime-limit 60000 --reconnect-timeout 60000

# Nothing is cut: nobody needs the agent.
subject_start --size 64M --rate 0
FAULT=source.late:stop migrate_start --postcopy
await 30 is_stopped_on a
another_agent
rc=0; finish migrate || rc=$?
told_right "$rc" b
settled b
report "post-copy on its connections needs no agent"
