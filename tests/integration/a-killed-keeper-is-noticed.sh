#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The keeper alone killed by SIGKILL. Between two injections, inside the freeze, the process runs on, its memory is right, and it can be moved again; while calls
# of ours run in it, a single one or many, it is ended, so that it never goes on with registers that are not its own; once it is held it is thawed by who is left,
# and after the commit ended by it. The migration fails in words where it fails, and nothing is left on either side, no cgroup either.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_start
rc=0; FAULT=capture.timers:kill migrate || rc=$?
told_right "$rc" a
said 'keeper process has ended'
runs_only_on a
nothing_left b
report "between two injections: runs on"
rc=0; migrate || rc=$?
told_right "$rc" b
settled b
report "and moves the next time"

for point in remote.step remote.batch; do
	subject_start
	rc=0; FAULT=$point:kill migrate || rc=$?
	[ "$rc" != 0 ] && [ "$rc" -lt 64 ] && [ -s "$T/migrate.err" ] || fail "$point: it ended with $rc"
	case $(field outcome) in aborted | gone) ;; *) fail "$point: the outcome is $(field outcome)" ;; esac # whose end is noticed first
	rc=0; finish subject || rc=$?
	[ "$rc" = $((128 + 9)) ] || fail "$point: the process ended with $rc, not by SIGKILL"
	nothing_left a
	nothing_left b
	report "while calls run in it ($point): ended"
done

subject_start
rc=0; FAULT=keeper.held:kill migrate || rc=$?
told_right "$rc" a
settled a
report "when it is held: thawed"

subject_start
rc=0; FAULT=keeper.ending:kill migrate || rc=$?
told_right "$rc" b
settled b
report "after the commit: the original is ended"
