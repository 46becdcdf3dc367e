#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SIGTERM lets the agent finish what it is doing and end with 0. It still answers meanwhile: new migrations are refused, at once.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_start
stopped_at source.round
kill -TERM "${pid[agent-b]}"
await 20 grep -q draining "$T/agent-b.err"
start a bystander sleep 1000
start a refused timeout 60 "$DRAY" migrate "${inner[bystander]}" "$agent_addr" --state-dir "$T/state-a" --json
brc=0; finish refused || brc=$?
[ "$brc" != 0 ] && [ "$brc" -lt 64 ] || fail "a migration to an agent that drains ended with $brc"
grep -q "takes no further migration" "$T/refused.err" || { cat "$T/refused.err" >&2; fail "it was not told that the agent is busy"; }
end bystander
kill -CONT $(stopped_on a)
rc=0; finish migrate || rc=$?
arc=0; finish agent-b || arc=$?
unset "pid[agent-b]"
[ "$arc" = 0 ] || fail "the agent ended with $arc"
if [ "$rc" = 0 ]; then told_right 0 b; settled b; else told_right "$rc" a; settled a; fi
report "migration ended with $rc, agent with $arc"
