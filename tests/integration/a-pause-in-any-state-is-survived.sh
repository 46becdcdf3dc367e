#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Either side standing still for a moment in any state and going on: the migration goes on too.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
go_on() { local p; for p in $(stopped_on "$1"); do kill -CONT "$p"; done; }
# A point may be passed more than once: each round has one.
goes_on() { go_on "$1"; gone "${pid[migrate]}"; }
for p in $source_points; do
	subject_start
	stopped_at "${p%:*}"
	await 60 goes_on a
	rc=0; finish migrate || rc=$?
	told_right "$rc" b
	settled b
	report "stood still at ${p%:*}"
done
agent_stop b || fail "the agent did not drain: $?"
for p in $destination_points; do
	DRAY_FAULT=${p%:*}:stop agent_start b
	subject_start
	migrate_start
	await 20 is_stopped_on b
	await 60 goes_on b
	rc=0; finish migrate || rc=$?
	told_right "$rc" b
	settled b
	agent_stop b || fail "the agent did not drain: $?"
	report "stood still at ${p%:*}"
done
