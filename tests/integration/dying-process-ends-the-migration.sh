#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process that dies during a round ends its migration with a word about it; nothing of it is left on either host.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
for point in source.armed source.round source.frozen; do
	subject_start
	stopped_at "$point"
	kill -KILL "${pid[subject]}"
	kill -CONT $(stopped_on a)
	rc=0; finish migrate || rc=$?
	[ "$rc" = 4 ] || fail "exit $rc, not 4"
	[ "$(field outcome)" = gone ] || fail "outcome $(field outcome)"
	said "${inner[subject]}|ended|gone|died|no such process"
	end subject
	nothing_left a
	nothing_left b
	report "died at $point"
done
