#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# While pages are on their way after the commit: a lost connection pauses and resumes, a killed source program is taken over by its keeper and a
# killed keeper by `dray recover`, and a destination that can't go on gives the process back. Never a page lost, never two copies.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
is_ready() { grep -q '^ready' "$T/cutter.out"; }
late_subject() { subject_start --size 64M --rate 0; }

start b cutter "$PYTHON" "$LIB/cutter.py" "${host_addr[b]}:7472" "${host_addr[b]}:$PORT" after late
await 10 is_ready
late_subject
TO=${host_addr[b]}:7472 migrate --postcopy || fail "the connection was lost and not made again: $(tail -n 3 "$T/migrate.err")"
await 10 grep -q '^cut' "$T/cutter.out"
[ "$(field outcome)" = moved ] || fail "$(field outcome)"
end cutter
settled b
report "connection lost: resumed"

late_subject
rc=0; FAULT=source.late migrate --postcopy || rc=$?
[ "$rc" = 137 ] || fail "source.late was not reached (exit $rc)"
settled b
report "program killed: its keeper went on"

# Both of the source's processes: the original stays frozen, whole, until somebody goes on with it.
late_subject
stopped_at source.late --postcopy
program=$(stopped_on a)
keeper=$(child_of "$program")
kill -KILL "$keeper"
kill -KILL "$program"
finish migrate || true
on a "$DRAY" recover --state-dir "$T/state-a" > "$T/recover.out" 2>&1 || fail "recover: $(cat "$T/recover.out")"
settled b
report "program and keeper killed: dray recover went on"

# It has every page and says so, upon which the original is ended: from then on its end takes nothing along.
agent_stop b || fail "the agent did not drain"
DRAY_FAULT=destination.late-told agent_start b
late_subject
migrate --postcopy || fail "killed with every page there: $(tail -n 3 "$T/migrate.err")"
settled b
report "session killed with every page there: the copy runs on"

# The session is what feeds the process; without it nobody may read zeros: its copy is ended, the original goes on from where it was frozen. What the
# copy did in between, a beat or two, is not undone.
agent_stop b || fail "the agent did not drain"
DRAY_FAULT=destination.late agent_start b
late_subject
rc=0; migrate --postcopy || rc=$?
told_right "$rc" a
await 20 subject_absent b
advances
subject_right a
nothing_left a subject
nothing_left b
report "session killed: the original runs on"
