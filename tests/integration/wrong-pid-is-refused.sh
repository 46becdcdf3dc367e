#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A PID that is none, or a kernel's or our own, is refused by name; nothing reaches the destination.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_start
for p in 4194000 0 -1 12x ''; do
	mkdir -p "$T/state-a"
	rc=0; on a "$DRAY" migrate "$p" "$agent_addr" --state-dir "$T/state-a" > "$T/migrate.out" 2> "$T/migrate.err" || rc=$?
	[ "$p" = 4194000 ] && want=4 || want=2
	[ "$rc" = "$want" ] || fail "PID '$p': exit $rc, not $want"
	[ -z "$p" ] || said "$p"
	report "PID '$p' refused with $rc"
done
nothing_left a subject
nothing_left b
runs_only_on a
