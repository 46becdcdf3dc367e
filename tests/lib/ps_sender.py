# SPDX-License-Identifier: Apache-2.0
"""ps_sender - a sender of CRIU's page-server protocol, from docs/page-server.md alone, and a reader of what a server published."""
import os
import socket
import struct

ADD, HOLE, OPEN, OPEN2, PARENT, ADD_F, GET, CLOSE, FORCE_CLOSE = 1, 2, 3, 4, 5, 6, 7, 0x1023, 0x1024
IN_PARENT, LAZY, PRESENT = 1, 2, 4
FRAME, ALIVE, TAKEN = 0x2001, 0xffff, 0xfffe  # of native sessions: a command, and what stands for an error's kind in answers that are none
FEATURES, NUMBERED, PARTS = 0x22, 0x40, 0x80
LZ4 = 1  # of a frame
HELLO = "<8sHBBIQ16sII16s"
PAGE = 4096


class Sender:
    def __init__(self, port, layout=32, host="127.0.0.1"):
        if host.startswith("/"):
            self.s = socket.socket(socket.AF_UNIX)
            self.s.connect(host)
        else:
            self.s = socket.create_connection((host, int(port)), 120)
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

    def hello(self, role, index=0, token=bytes(16), features=FEATURES):
        """Status, features and token of the answer."""
        self.s.sendall(struct.pack(HELLO, b"DRAY\r\n\x1a\n", 1, role, 0, index, features, bytes(16), 1024, 0, token))
        _, _, r, status, i, features, _, _, _, token = struct.unpack(HELLO, self.take(64))
        assert (r, i) == (role, index)
        return status, features, token

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

    def refusal(self):
        """How the server ends the session: its words, None where it has none."""
        assert self.dropped(), "it goes on"
        return None


class Refused(Exception):
    """A native session that failed: the server's words."""


class Native(Sender):
    """The same in a native session; numbered: one that may have more connections."""

    def __init__(self, port, numbered=False):
        super().__init__(port)
        self.number = 0 if numbered else None
        self.frames = 0
        status, features, self.token = self.hello(5, features=FEATURES | NUMBERED * numbered)
        assert status == 0 and bool(features & NUMBERED) == numbered, (status, features)

    def say(self, code, flags=0, nr=0, vaddr=0, dst=0):
        if self.number is not None:
            self.s.sendall(struct.pack("<Q", self.number))
            self.number += 1
        super().say(code, flags, nr, vaddr, dst)

    def frame(self, vaddr, data, flags=PRESENT):
        n = len(data) // PAGE
        self.say(FRAME, flags, n, vaddr, self.dst)
        self.s.sendall(frame(vaddr, n, data, self.frames))
        self.frames += 1

    def answer(self, n=8):
        while True:
            value, kind, length = struct.unpack("<IHH", self.take(8))
            words = self.take(length).decode()
            if kind in (ALIVE, TAKEN):
                continue
            if kind:
                raise Refused(words)
            return value

    def close(self):
        self.say(CLOSE)
        status = self.answer()
        if self.number is not None:
            self.s.sendall(b"\xff" * 8)
        self.s.close()
        return status

    def refusal(self):
        try:
            while True:
                self.answer()
        except Refused as words:
            assert self.dropped(), "it goes on"
            self.s.close()
            return str(words)


# Whoever may send: what is promised to one is promised to all.
SENDERS = {
    "24": lambda port: Sender(port, 24),
    "32": Sender,
    "native": Native,
    "numbered": lambda port: Native(port, True),
}


def told(kind, s, *words):
    """The server ends the session of a sender of this kind, and says why where the protocol has room for it."""
    said = s.refusal()
    assert all(w in said for w in words) if kind in ("native", "numbered") else said is None, (kind, said, words)


def frame(vaddr, pages, payload, sequence, flags=0):
    """Of one run, without a checksum."""
    return struct.pack("<4sBBHIIIIIIQQ", b"DRF1", 1, 0, flags, 0, 1, 1, pages, len(payload), 0, 0, sequence) + struct.pack("<QII", vaddr, pages, 0) + payload


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
