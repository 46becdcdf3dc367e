#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The control connection cut by either side in any state: exactly one copy runs, and the report says which.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
for p in $source_points; do
	subject_start
	rc=0; FAULT=${p%:*}:cut migrate || rc=$?
	told_right "$rc" "${p#*:}"
	settled "${p#*:}"
	report "cut at ${p%:*}: runs on ${p#*:}"
done
agent_stop b || fail "the agent did not drain: $?"
for p in $destination_points; do
	DRAY_FAULT=${p%:*}:cut agent_start b
	subject_start
	rc=0; migrate || rc=$?
	told_right "$rc" "${p#*:}"
	settled "${p#*:}"
	agent_stop b || fail "the agent did not drain: $?"
	report "cut at ${p%:*}: runs on ${p#*:}"
done
