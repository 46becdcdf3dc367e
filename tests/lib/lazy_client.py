#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""lazy_client.py SOCKET|PORT IMAGES PID LAYOUT END - fetches every page that a lazy dump left with its task, as criu's lazy-pages daemon asks for them,
and compares each with the frozen task's own memory.

LAYOUT: 24 or 32, the length of a header. END: close (says that it needs no more) or cut. Prints how many pages were right."""
import os
import socket
import struct
import sys

import pycriu

GET, ADD_F, CLOSE, PRESENT, LAZY, PAGE = 7, 6, 0x1023, 4, 2, 4096


def header(layout, cmd, nr=0, vaddr=0, dst=0):
    return struct.pack("<IIQQ" if layout == 24 else "<IxxxxQQQ", cmd, nr, vaddr, dst)


def take(sock, n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            sys.exit("the source ended after %d of %d bytes" % (len(data), n))
        data += part
    return data


def main():
    path, images, pid, layout, end = sys.argv[1:]
    layout = int(layout)
    with open(os.path.join(images, "pagemap-%s.img" % pid), "rb") as f:
        entries = pycriu.images.load(f)["entries"][1:]
    left = [(e["vaddr"], e["nr_pages"]) for e in entries if e["flags"] & (LAZY | PRESENT) == LAZY]
    if not left:
        sys.exit("nothing was left with the task")
    if path.isdigit():
        sock = socket.create_connection(("127.0.0.1", int(path)))
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
    right = 0
    with open("/proc/%s/mem" % pid, "rb", buffering=0) as mem:
        for vaddr, pages in left:
            done = 0
            while done < pages:
                ask = 1 if done == 0 else 1000
                sock.sendall(header(layout, GET, ask, vaddr + done * PAGE, int(pid)))
                cmd, nr, at, dst = struct.unpack("<IIQQ" if layout == 24 else "<IxxxxQQQ", take(sock, layout))
                if cmd != ADD_F | PRESENT << 16 or at != vaddr + done * PAGE or dst != int(pid) or not 1 <= nr <= min(ask, pages - done):
                    sys.exit("not an answer: %x %d %x %d" % (cmd, nr, at, dst))
                mem.seek(at)
                if take(sock, nr * PAGE) != mem.read(nr * PAGE):
                    sys.exit("other contents at %x" % at)
                done += nr
                right += nr
            if end == "cut":
                return
    sock.sendall(header(layout, CLOSE))
    if take(sock, 4) != bytes(4):
        sys.exit("a status that is not 0")
    print(right)


main()
