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
# The rate that it measured is the one that the process writes at: 20 MB/s, and a little for its own counting.
rate=$(tail -n 1 "$T/migrate.out" | "$PYTHON" -c 'import json, sys
def find(o):
    for k, v in o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else []:
        if isinstance(k, str) and "dirty" in k and isinstance(v, (int, float)): yield k, v
        yield from find(v)
print(dict(find(json.load(sys.stdin))))')
echo "dirty rate: $rate"
[ "$rate" != "{}" ] || fail "no dirty rate in its JSON"
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
