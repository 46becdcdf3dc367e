#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Dozens of sources say hello to one agent, and it has a session for each. Four processes move to it at once, one of them is cut off: the others arrive.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
host_a "$PYTHON" - "${host_addr[b]}" "$PORT" <<'PY' || fail "not a session for each"
import os, socket, struct, sys
held = []
for n in range(70):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 120)
    s.sendall(struct.pack("<8sHBBIQ16sII16s", b"DRAY\r\n\x1a\n", 1, 1, 0, 0, 0, os.urandom(16), 1024, 1 << 25, bytes(16)))
    answer = s.recv(64, socket.MSG_WAITALL)
    assert len(answer) == 64 and answer[11] == 0, (n, answer)
    held.append(s)
PY
n=4
# What was to become it, or was it, may still be on its way out on the other host.
is_alone() { process_there "$1" "$2" > /dev/null && ! process_there "$(other "$1")" "$2" > /dev/null; }
for i in $(seq $n); do
	mkdir -p "$T/$i"
	start a "s$i" "$SUBJECT" --size 16M --rate 4 --verify --beat "$T/$i/beat" --report "$T/$i/verdict" --ready "$T/$i/ready"
done
for i in $(seq $n); do await 30 test -e "$T/$i/ready"; done
for i in $(seq $n); do
	start a "m$i" env $([ "$i" != 2 ] || echo DRAY_FAULT=source.round:cut) "$DRAY" migrate "${inner[s$i]}" "$agent_addr" \
		--state-dir "$T/state-a" --json
done
for i in $(seq $n); do
	rc=0; finish "m$i" || rc=$?
	[ "$i" = 2 ] && lives=a || lives=b
	if [ $lives = b ]; then [ "$rc" = 0 ] || { cat "$T/m$i.err" >&2; fail "$i: exit $rc"; }
	else [ "$rc" != 0 ] || fail "$i: cut, and yet it moved"; fi
	await 20 is_alone "$lives" "${inner[s$i]}"
	p=$(process_there $lives "${inner[s$i]}") || fail "$i is not on $lives"
	kill -USR1 "$p"
	await 20 test -e "$T/$i/verdict"
	grep -q '"right"' "$T/$i/verdict" || fail "$i: $(cat "$T/$i/verdict")"
	head -n "$(wc -l < "$T/$i/beat")" "$T/$i/beat" | awk '$1 != NR { exit 1 }' || fail "$i ran twice"
	report "$i runs on $lives"
done
