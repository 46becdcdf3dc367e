#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SIGTERM lets the agent finish what it is doing and end with 0; new migrations are refused meanwhile.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_start
stopped_at source.round
kill -TERM "${pid[agent-b]}"
kill -CONT $(stopped_on a)
rc=0; finish migrate || rc=$?
arc=0; finish agent-b || arc=$?
unset "pid[agent-b]"
[ "$arc" = 0 ] || fail "the agent ended with $arc"
if [ "$rc" = 0 ]; then told_right 0 b; settled b; else told_right "$rc" a; settled a; fi
report "migration ended with $rc, agent with $arc"
