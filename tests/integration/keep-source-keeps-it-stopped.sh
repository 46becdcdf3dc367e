#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --keep-source leaves the original behind, stopped: it never runs while the copy does. Whoever settles it, `dray recover` knows of it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_start
rc=0; migrate --keep-source || rc=$?
told_right "$rc" b
subject_present a || fail "the original is gone"
advances
beats_right || fail "both ran"
subject_right b
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/${pid[subject]}/stat"; }
before=$(ticks)
advances 300
[ "$(ticks)" = "$before" ] || fail "the original runs"
on a "$DRAY" recover --state-dir "$T/state-a" | grep -q 'kept here, stopped' || fail "recover does not know what was kept"
on a "$DRAY" recover --state-dir "$T/state-a" "$(field id)" --kill || fail "recover could not end it"
await 10 gone "${pid[subject]}"
nothing_left a
subject_stop
nothing_left b

# `dray migrate` is killed when it has said Commit: its keeper asks, and keeps the original.
subject_start
rc=0; FAULT=source.commit-sent migrate --keep-source || rc=$?
[ "$rc" = 137 ] || fail "source.commit-sent was not reached (exit $rc)"
recorded_as_kept() { on a "$DRAY" recover --state-dir "$T/state-a" --list | grep -q ' kept '; }
await 20 recorded_as_kept
subject_present a || fail "the original is gone"
advances
beats_right || fail "both ran"
on a "$DRAY" recover --state-dir "$T/state-a" | grep -q 'kept here, stopped' || fail "recover does not know what the keeper kept"
id=$(migration_id)
on a "$DRAY" recover --state-dir "$T/state-a" "$id" --kill || fail "recover could not end it"
RECORDS=1 # a keeper that can't tell the destination that it may forget leaves it a record
settled b
