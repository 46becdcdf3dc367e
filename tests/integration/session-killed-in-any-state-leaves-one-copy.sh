#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The destination's session killed by SIGKILL in any state, its agent alive: exactly one copy runs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin without-agent
# Should the fault take the agent too, it is started again.
over_or_alone() { gone "${pid[migrate]}" || ! agent_alive b; }
for p in $destination_points; do
	DRAY_FAULT=${p%:*} agent_start b
	subject_start
	migrate_start
	await 30 over_or_alone
	agent_again
	rc=0; finish migrate || rc=$?
	[ "${p#*:}" = a ] || [ "$(field destination_pid)" = "${inner[subject]}" ] || fail "told PID $(field destination_pid), not ${inner[subject]}"
	settled "${p#*:}"
	told_right "$rc" "${p#*:}"
	agent_stop b || fail "the agent did not drain: $?"
	report "session killed at ${p%:*}: runs on ${p#*:}"
done
