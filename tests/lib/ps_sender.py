# SPDX-License-Identifier: Apache-2.0
"""ps_sender - a sender of CRIU's page-server protocol, from docs/page-server.md alone, and a reader of what a server published."""
import os
import socket
import struct

ADD, HOLE, OPEN, OPEN2, PARENT, ADD_F, GET, CLOSE, FORCE_CLOSE = 1, 2, 3, 4, 5, 6, 7, 0x1023, 0x1024
IN_PARENT, LAZY, PRESENT = 1, 2, 4
PAGE = 4096


class Sender:
    def __init__(self, port, layout=32):
        self.s = socket.create_connection(("127.0.0.1", int(port)), 120)
        self.s.settimeout(120)
        self.layout = layout

    def say(self, code, flags=0, nr=0, vaddr=0, dst=0):
        form = "<IIQQ" if self.layout == 24 else "<IxxxxQQQ"
        self.s.sendall(struct.pack(form, code | flags << 16, nr, vaddr, dst))

    def take(self, n):
        got = b""
        while len(got) < n:
            more = self.s.recv(n - len(got))
            if not more:
                raise EOFError("the server ended the session")
            got += more
        return got

    def answer(self, n):
        return int.from_bytes(self.take(n), "little")

    def parent(self, pid):
        self.say(PARENT, dst=pid << 8 | 1)
        return self.answer(4)

    def open(self, pid, kind=1):
        self.dst = pid << 8 | kind
        self.say(OPEN2, dst=self.dst)
        return self.answer(1)

    def pages(self, vaddr, data, flags=PRESENT):
        self.say(ADD_F, flags, len(data) // PAGE, vaddr, self.dst)
        self.s.sendall(data)

    def hole(self, vaddr, nr, flags=IN_PARENT):
        self.say(ADD_F, flags, nr, vaddr, self.dst)

    def close(self):
        self.say(CLOSE)
        status = self.answer(4)
        self.s.close()
        return status

    def dropped(self):
        """Whether the server ends the connection without a word."""
        try:
            return self.s.recv(1) == b""
        except ConnectionError:
            return True


def page(byte):
    return bytes([byte]) * PAGE


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def numbers(entry):
    at, fields = 0, {}
    while at < len(entry):
        key, at = varint(entry, at)
        fields[key >> 3], at = varint(entry, at)
    return fields


def published(directory, pid, kind=1):
    """[(vaddr, pages, flags)] and the bytes of the pages file of a page map."""
    name = "pagemap-%d.img" % pid if kind == 1 else "pagemap-shmem-%d.img" % pid
    with open(os.path.join(directory, name), "rb") as f:
        data = f.read()
    at, entries = 8, []
    while at < len(data):
        size, = struct.unpack_from("<I", data, at)
        entries.append(numbers(data[at + 4:at + 4 + size]))
        at += 4 + size
    with open(os.path.join(directory, "pages-%d.img" % entries[0][1]), "rb") as f:
        pages = f.read()
    for e in entries[1:]:
        assert e[2] == e.get(5, e[2]), "the two counters differ"
    return [(e[1], e[2], e.get(4, 0)) for e in entries[1:]], pages
