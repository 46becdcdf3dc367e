#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --dry-run says what would move, how fast it changes and what to expect, and neither stops nor moves anything.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_start --size 32M --rate 20
host_a "$DRAY" migrate "${inner[subject]}" "$agent_addr" --state-dir "$T/state-a" --dry-run > "$T/text.out" 2>&1 || fail "exit $?: $(cat "$T/text.out")"
for word in dirty round blackout; do grep -qi "$word" "$T/text.out" || { cat "$T/text.out" >&2; fail "nothing about: $word"; }; done
rc=0; migrate --dry-run || rc=$?
[ "$rc" = 0 ] || fail "exit $rc"
! event_seen freeze || fail "it stopped the process"
nothing_left a subject
nothing_left b
runs_only_on a
[ "$(field dirty_bytes_per_s)" -gt 0 ] || fail "it writes 20 MB/s, and none of it was seen"
[ "$(field present_bytes)" -ge $((32 << 20)) ] || fail "it has more memory than $(field present_bytes)"
# What can't be carried is named, with the option that would let it go.
start a listener "$PYTHON" -c 'import os, signal, socket
s = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(s.getsockname()); d, _ = s.accept()
print("ready", c.fileno(), flush=True); signal.pause()'
await 10 grep -q ready "$T/listener.out"
rc=0; MOVED=listener migrate --dry-run > /dev/null || rc=$?
[ "$rc" = 5 ] || fail "an established connection: exit $rc, not 5"
cat "$T/migrate.err" "$T/migrate.out" > "$T/all.out"
grep -q "task ${inner[listener]} fd $(awk '/ready/ { print $2 }' "$T/listener.out")" "$T/all.out" || fail "not named: $(cat "$T/all.out")"
grep -q -- '--tcp-close' "$T/all.out" || fail "the way out is not named: $(cat "$T/all.out")"
