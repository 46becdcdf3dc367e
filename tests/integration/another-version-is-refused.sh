#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A peer that speaks another version, on either side, is told apart and refused by name; the source runs on.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
# A peer that came with version 9: the agent answers with a hello that says so, and ends.
host_a "$PYTHON" - "${host_addr[b]}" "$PORT" <<'PY' || fail "the agent's answer"
import socket, struct, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 120)
s.sendall(b"DRAY\r\n\x1a\n" + struct.pack("<HBBIQ", 9, 1, 0, 0, 7) + bytes(range(16)) + bytes(24))
answer = b""
while len(answer) < 64:
    part = s.recv(64 - len(answer))
    if not part:
        sys.exit("the connection ended after %d bytes of hello" % len(answer))
    answer += part
magic, version, role, status = struct.unpack("<8sHBB", answer[:12])
assert magic == b"DRAY\r\n\x1a\n", magic
assert version == 1 and status == 1, (version, status)
s.settimeout(120)
assert s.recv(1) == b"", "it goes on talking"
PY
report "the agent refuses version 9"
# An agent of version 9: the source says so.
start b other "$PYTHON" -c 'import socket, struct, sys
l = socket.create_server((sys.argv[1], 7473)); print("ready", flush=True)
while True:
    c, _ = l.accept(); c.recv(64, socket.MSG_WAITALL)
    c.sendall(b"DRAY\r\n\x1a\n" + struct.pack("<HBBIQ", 9, 1, int(sys.argv[2]), 0, 7) + bytes(40)); c.close()' "${host_addr[b]}" 1
await 10 grep -q ready "$T/other.out"
subject_start
rc=0; TO=${host_addr[b]}:7473 migrate || rc=$?
[ "$rc" = 6 ] || fail "exit $rc, not 6"
said 'version'
told_right "$rc" a
end other
settled a
report "the source refuses version 9"
