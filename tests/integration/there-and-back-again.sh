#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process that has moved can move again, back to where it came from, under its own PID. No connection is said to be cut that ended as it should.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
agent_start a
subject_start
for to in b a b; do
	from=$(other $to)
	start "$from" migrate "$DRAY" migrate "${inner[subject]}" "${host_addr[$to]}:$PORT" --state-dir "$T/state-$from.m" --json
	rc=0; finish migrate || rc=$?
	told_right "$rc" b
	runs_only_on $to
	[ "$(grep -c stream-cut "$T/agent-$to.err")" = "$(grep -c stream-again "$T/agent-$to.err")" ] || fail "to $to: cut, says the log"
	report "to $to"
done
subject_stop
