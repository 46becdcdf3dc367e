#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The destination, which says "it never ran here" of what it has no record of, forgets a migration only once the original has ended: whoever asks for
# the outcome a second time, since the one that asked first was killed before it acted on it, must not hear the opposite.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
has_record() { compgen -G "$T/state-$1/*.$2" > /dev/null; }
forgotten() { ! has_record b destination; }

subject_start
stopped_at source.done
await 20 forgotten
subject_absent a || fail "the destination has forgotten, and the original is still there"
kill -KILL "$(stopped_on a)"
finish migrate || true
settled b
report "Done is said when the original has ended"

subject_start
rc=0; FAULT=source.commit-sent,settle.decided migrate || rc=$?
[ "$rc" = 137 ] || fail "source.commit-sent was not reached (exit $rc)"
keeper_gone() { ! processes_of a | while read -r p _; do cat "/proc/$p/comm"; done 2> /dev/null | grep -q '^dray-keeper'; }
await 20 keeper_gone
has_record b destination || fail "the keeper asked, was killed, and the destination has forgotten"
has_record a source || fail "the record at the source is gone"
subject_present a || fail "settle.decided was not reached"
on a "$DRAY" recover --state-dir "$T/state-a" | grep -q 'runs at the destination; ended here' || fail "recover says otherwise"
RECORDS=1 # that it may forget now, too, is told as far as it can be
settled b
report "a question is no end: who asks next hears the same"
