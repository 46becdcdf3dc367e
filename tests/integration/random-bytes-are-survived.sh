#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Bytes that are no hello, half a hello, a hello and then noise: the agent drops them, holds no memory for them and serves the next.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
host_a "$PYTHON" - "${host_addr[b]}" "$PORT" <<'PY' || fail "the sender of noise"
import random, socket, struct, sys
to, rng = (sys.argv[1], int(sys.argv[2])), random.Random(7)
def hello(role):
    return b"DRAY\r\n\x1a\n" + struct.pack("<HBBIQ", 1, role, 0, 0, 7) + rng.randbytes(16) + struct.pack("<II", 1024, 1 << 25) + bytes(16)
noise = [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", rng.randbytes(64), rng.randbytes(100000), hello(1)[:40], bytes(64)]
for role in (0, 1, 2, 3, 200):
    noise += [hello(role), hello(role) + rng.randbytes(4096), hello(role) + struct.pack("<IHH", 0xffffffff, 1, 0),
              hello(role) + struct.pack("<IHH", 32 << 20, 1, 0), hello(role) + struct.pack("<IHH", 4, 77, 0) + b"abcd"]
    noise += [hello(role) + struct.pack("<IHH", 64, kind, 0) + rng.randbytes(64) for kind in range(0, 18)]
for data in noise:
    s = socket.create_connection(to, 120)
    try:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(120)
        while s.recv(65536):
            pass
    except TimeoutError:
        sys.exit("still open after %r" % data[:80])
    except OSError: # it hung up on us while we were talking
        pass
    s.close()
PY
agent_alive b || fail "the agent died"
kb=$(awk '/^VmRSS/ { print $2 }' "/proc/${pid[agent-b]}/status")
[ "$kb" -lt "${AGENT_RSS_KB:-262144}" ] || fail "the agent holds $kb KiB"
nothing_left b
subject_start
rc=0; migrate || rc=$?
told_right "$rc" b
settled b
report "a migration behind the noise"
