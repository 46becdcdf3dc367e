#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `dray migrate` killed by SIGKILL in any state: exactly one copy runs, before commit the source's, after it the destination's.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
for p in $source_points; do
	subject_start
	rc=0; FAULT=${p%:*} migrate || rc=$?
	[ "$rc" = 137 ] || fail "${p%:*} was not reached (exit $rc)"
	settled "${p#*:}"
	report "killed at ${p%:*}: runs on ${p#*:}"
done
