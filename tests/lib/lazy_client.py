#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""lazy_client.py SOCKET|PORT IMAGES PID LAYOUT END - fetches every page that a lazy dump left with its task, as criu's lazy-pages daemon asks for them,
and compares each with the frozen task's own memory.

LAYOUT: 24 or 32, the length of a header. END: close (says that it needs no more) or cut. With PAGES=stored in the environment the images have the
pages, and each is compared with what they have; with CERTS=DIR it speaks TLS as host-b (make-certs). Prints how many pages were right."""
import os
import socket
import ssl
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


class Stored:
    """A task's memory as a set without parents has it."""

    def __init__(self, images, pid):
        with open(os.path.join(images, "pagemap-%s.img" % pid), "rb") as f:
            self.entries = pycriu.images.load(f)["entries"]
        self.pages = open(os.path.join(images, "pages-%d.img" % self.entries[0]["pages_id"]), "rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pages.close()

    def seek(self, at):
        first = 0
        for e in self.entries[1:]:
            if e["vaddr"] <= at < e["vaddr"] + e["nr_pages"] * PAGE:
                self.pages.seek(first + at - e["vaddr"])
                return
            first += e["nr_pages"] * PAGE
        sys.exit("%x is not stored" % at)

    def read(self, n):
        return self.pages.read(n)


def main():
    path, images, pid, layout, end = sys.argv[1:]
    layout = int(layout)
    with open(os.path.join(images, "pagemap-%s.img" % pid), "rb") as f:
        entries = pycriu.images.load(f)["entries"][1:]
    stored = os.environ.get("PAGES") == "stored"
    left = [(e["vaddr"], e["nr_pages"]) for e in entries if e["flags"] & (LAZY | PRESENT) == (PRESENT | LAZY if stored else LAZY)]
    if not left:
        sys.exit("nothing was left with the task")
    if path.isdigit():
        sock = socket.create_connection(("127.0.0.1", int(path)))
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
    if "CERTS" in os.environ:
        certs = os.environ["CERTS"]
        tls = ssl.create_default_context(cafile=certs + "/ca.pem")
        tls.load_cert_chain(certs + "/host-b.pem", certs + "/host-b.key")
        sock = tls.wrap_socket(sock, server_hostname="127.0.0.1")
    right = 0
    with Stored(images, pid) if stored else open("/proc/%s/mem" % pid, "rb", buffering=0) as mem:
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
