#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Without --insecure the agent listens on loopback and nowhere else.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin without-agent
rc=0; on b timeout 60 "$DRAY" agent --listen "${host_addr[b]}:0" --state-dir "$T/state-b" > "$T/x.out" 2> "$T/x.err" || rc=$?
[ "$rc" = 2 ] || [ "$rc" = 3 ] || fail "exit $rc"
grep -q -- '--insecure' "$T/x.err" || fail "the way out is not named: $(cat "$T/x.err")"
start b agent-b "$DRAY" agent --listen 127.0.0.1:0 --state-dir "$T/state-b"
await 10 grep -qE '^listening on 127\.0\.0\.1:[1-9]' "$T/agent-b.out"
agent_stop b || fail "the agent did not drain: $?"
