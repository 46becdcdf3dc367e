# SPDX-License-Identifier: Apache-2.0
"""listen_in.py INTERFACE FILE WORD... - writes to FILE, whenever that changes, which of the words went over the interface in the clear, and
"bytes N" about once a MiB. Until it is killed."""
import os
import socket
import sys

interface, out, words = sys.argv[1], sys.argv[2], [w.encode().decode("unicode_escape").encode("latin-1") for w in sys.argv[3:]]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUFFORCE if hasattr(socket, "SO_RCVBUFFORCE") else 33, 64 << 20)
s.bind((interface, 0))
seen, count, told = set(), 0, -1


def tell():
    with open(out + ".new", "w") as f:
        f.write("bytes %d\n" % count)
        for w in sorted(seen):
            f.write("seen %r\n" % w.decode("latin-1"))
    os.rename(out + ".new", out)


tell()
while True:
    packet = s.recv(1 << 17)
    count += len(packet)
    new = {w for w in words if w not in seen and w in packet}
    if new or count >> 20 != told:
        seen |= new
        told = count >> 20
        tell()
