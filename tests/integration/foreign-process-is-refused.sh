#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process that the caller may not touch stays as it is, and the caller is told.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
command -v setpriv > /dev/null || skip "needs setpriv"
faults_begin
subject_start
install -d -m 777 "$T/state-n"
chmod 755 "$T"
cp "$DRAY" "$T/dray" # the build directory may be closed to others
rc=0
on a setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all \
	"$T/dray" migrate "${inner[subject]}" "$agent_addr" --state-dir "$T/state-n/s" --json > "$T/migrate.out" 2> "$T/migrate.err" || rc=$?
[ "$rc" = 3 ] || fail "exit $rc, not 3: $(cat "$T/migrate.err")"
said 'permitted|denied|permission'
nothing_left a subject
nothing_left b
runs_only_on a
