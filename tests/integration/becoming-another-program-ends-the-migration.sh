#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process that calls execve during a round is not moved as what it was: the migration ends, the new program runs on with nothing of ours.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
start a subject "$PYTHON" -c '
import os, sys, time
ready, go, became = sys.argv[1:]
held = bytearray(os.urandom(1 << 20)) * 16
open(ready, "w").close()
while not os.path.exists(go): time.sleep(0.01)
os.execv(sys.executable, [sys.executable, "-c", "import sys, time\nopen(sys.argv[1], \"w\").close()\nwhile True: time.sleep(0.05)", became])
' "$T/ready" "$T/go" "$T/became"
await 20 test -e "$T/ready"
stopped_at source.round
touch "$T/go"
await 20 test -e "$T/became"
go_on() { local p; for p in $(stopped_on a); do kill -CONT "$p"; done; gone "${pid[migrate]}"; }
await 20 go_on
rc=0; finish migrate || rc=$?
[ "$rc" = 4 ] || fail "exit $rc, not 4"
[ "$(field outcome)" = aborted ] || fail "outcome $(field outcome)"
said execve
kill -0 "${pid[subject]}" || fail "the program is gone"
childless() { ! has_child "${pid[subject]}"; } # none that it did not make
await 10 childless
kill -KILL "${pid[subject]}"
end subject
nothing_left a
nothing_left b
