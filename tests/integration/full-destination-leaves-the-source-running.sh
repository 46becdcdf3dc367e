#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process above the destination's --max-memory is refused before it is stopped, one that grows past it during the rounds ends the migration.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin without-agent
agent_start b --max-memory 16M
subject_start --size 32M
rc=0; migrate || rc=$?
[ "$rc" = 7 ] || fail "exit $rc, not 7"
said 'memory'
! event_seen freeze || fail "it was stopped for nothing"
told_right "$rc" a
settled a
report "refused with $rc"
