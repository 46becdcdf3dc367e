# SPDX-License-Identifier: Apache-2.0
"""page_sender - sends one page map to a page server, in the stock protocol's layout of 24 bytes."""
import struct

ADD_F, OPEN2, FORCE_CLOSE, CLOSE, PRESENT = 6, 4, 0x1024, 0x1023, 4


def command(cmd, pages, vaddr, pid):
    return struct.pack("=IIQQ", cmd, pages, vaddr, pid << 8 | 1)


def send(sock, pid, vaddr, pages, last=CLOSE):
    """Returns whether the server had a parent for it; raises when it did not take it."""
    sock.sendall(command(OPEN2, 0, 0, pid))
    parent = sock.recv(1)
    sock.sendall(command(ADD_F | PRESENT << 16, len(pages) // 4096, vaddr, pid) + pages + command(last, 0, 0, 0))
    status = sock.recv(4)
    if parent not in (b"\0", b"\1") or status != bytes(4):
        raise AssertionError("the page server answered %r, %r" % (parent, status))
    return parent == b"\1"
