#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The destination's agent and its session killed by SIGKILL in any state and the agent started again: exactly one copy runs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin without-agent
for p in $destination_points; do
	DRAY_FAULT=${p%:*}:stop agent_start b
	subject_start
	migrate_start
	await 20 is_stopped_on b
	held=$(stopped_on b)
	agent_kill b
	kill -KILL $held 2> /dev/null || true
	agent_start b
	rc=0; finish migrate || rc=$?
	settled "${p#*:}"
	told_right "$rc" "${p#*:}"
	agent_stop b || fail "the agent did not drain: $?"
	report "agent killed at ${p%:*}: runs on ${p#*:}"
done
