#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Ctrl-C cancels before commit: the source runs on, the destination is clean.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
for point in source.connected source.armed source.round source.frozen source.prepared; do
	subject_start
	stopped_at "$point"
	kill -INT "${pid[migrate]}"
	kill -CONT $(stopped_on a)
	rc=0; finish migrate || rc=$?
	[ "$rc" = 9 ] || fail "$point: exit $rc, not 9"
	[ "$(field outcome)" = cancelled ] || fail "$point: outcome $(field outcome)"
	settled a
	report "interrupted at $point"
done
