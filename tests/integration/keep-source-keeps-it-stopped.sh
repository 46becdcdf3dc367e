#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --keep-source leaves the original behind, stopped: it never runs while the copy does.
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
