#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The commit has arrived, and before the destination reads it the source is lost and its keeper asks what became of the process: it runs at the
# destination, whichever of the two is seen first.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
session_of_b() { processes_of b | while read -r p _; do ! grep -qs '^PPid:[[:space:]]*'"${pid[agent-b]}"'$' "/proc/$p/status" || is_agents_own b "$p" || echo "$p"; done; }
# The question waits, read by nobody.
is_asked() { [ "$(on b ss -Htn state established "( sport = :$PORT )" | awk '$1 > 0' | wc -l)" = 1 ]; }

subject_start
stopped_at source.prepared
session=$(session_of_b)
[ -n "$session" ] || fail "no session"
kill -STOP $session
program=$(stopped_on a)
kill -CONT "$program"
await 30 event_seen commit
kill -KILL "$program"
finish migrate || true
await 30 is_asked
kill -CONT $session
settled b
report "committed, lost and asked at once: runs on b"
