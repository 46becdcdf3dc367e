#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The keeper alone killed by SIGKILL: between two injections, inside the freeze, the process runs on and its memory is right; in the middle of a batch it is ended by
# SIGTRAP, so that it never goes on with registers that are not its own. Either way the migration fails in words and nothing is at the destination.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_start
rc=0; FAULT=capture.timers:kill migrate || rc=$?
told_right "$rc" a
said 'keeper process has ended'
runs_only_on a
subject_stop
nothing_left b
# The cgroup that it was to be frozen in is left to whoever killed the keeper.
[ -z "${host_cgroup[a]}" ] || find "${host_cgroup[a]}" -mindepth 1 -type d -name 'dray-*-source' -delete
nothing_left a
report "between two injections: runs on"

subject_start
rc=0; FAULT=remote.batch:kill migrate || rc=$?
[ "$rc" != 0 ] && [ "$rc" -lt 64 ] && [ -s "$T/migrate.err" ] || fail "it ended with $rc"
case $(field outcome) in aborted | gone) ;; *) fail "the outcome is $(field outcome)" ;; esac # whose end is noticed first
rc=0; finish subject || rc=$?
[ "$rc" = $((128 + 5)) ] || fail "the process ended with $rc, not by SIGTRAP"
nothing_left a
nothing_left b
report "in the middle of a batch: ended by SIGTRAP"
