#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process that runs at the destination forks before any of its pages is there, and its session is killed: none of its children ever reads zeros in the
# place of a page, all of them are ended, and the original goes on. So it is where the session can't follow them all and gives up, which the agent counts.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
CHILDREN=40
copies() { processes_of "$1" | while read -r p _ _; do [ "$(cat "/proc/$p/comm" 2> /dev/null)" != forker ] || echo "$p"; done; }
waiting() { local n=0 p; for p in $(copies b); do ! grep -qs handle_userfault "/proc/$p/wchan" || n=$((n + 1)); done; [ "$n" -ge "$CHILDREN" ]; }
no_copies() { [ -z "$(copies b)" ]; }
forked_and_done() { [ "$(copies a | wc -l)" = 1 ]; }

start a subject "$BUILD/tests/programs/forker" "$T" 32 "$CHILDREN"
await 60 test -e "$T/ready"
# The source's program stands still once it runs there: no page comes that is asked for.
stopped_at source.late --postcopy --tracker none
touch "$T/go"
await 60 waiting
session=$(child_of "${pid[agent-b]}")
[ "$(cat "/proc/$session/comm")" = dray ] || fail "$session is no session"
kill -KILL "$session"
await 60 no_copies
[ ! -e "$T/zero" ] || fail "a child read zeros where a page was missing"
rc=0; finish migrate || rc=$?
told_right "$rc" a
[ "$(copies a)" != "" ] || fail "the original is gone"
await 60 forked_and_done # on the original's own pages
[ ! -e "$T/zero" ] || fail "the original has zeros"
nothing_left a subject
nothing_left b
report "$CHILDREN children waited for pages, none read zeros"

kill -KILL "${pid[subject]}"
finish subject || true
rm -f "$T/go" "$T/ready" "$T/zero"
agent_stop b || fail "the agent did not drain"
DRAY_FAULT=destination.late:stop agent_start b --metrics "unix:$T/m"
start a subject "$BUILD/tests/programs/forker" "$T" 32 "$CHILDREN"
await 60 test -e "$T/ready"
FAULT=source.late:stop migrate_start --postcopy --tracker none
await 30 is_stopped_on a
await 30 is_stopped_on b
session=$(stopped_on b)
"$PYTHON" -c 'import os, resource, sys
pid = int(sys.argv[1])
most = max(map(int, os.listdir("/proc/%d/fd" % pid))) + 4
resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))' "$session"
kill -CONT "$session"
touch "$T/go"
await 60 no_copies
[ ! -e "$T/zero" ] || fail "a child read zeros when the session gave up"
kill -CONT "$(stopped_on a)"
rc=0; finish migrate || rc=$?
told_right "$rc" a
await 60 forked_and_done
[ ! -e "$T/zero" ] || fail "the original has zeros"
PYTHONPATH=$LIB PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -c 'import sys; from prometheus import await_metric
await_metric("unix:" + sys.argv[1], "dray_agent_migrations_ended_total{outcome=\"limit\"}", 1)' "$T/m" || fail "not counted as what it was"
nothing_left a subject
nothing_left b
report "a session that can't follow its children ends them"
