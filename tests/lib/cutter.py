#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cutter.py LISTEN TARGET WHEN TYPE - a wire between two hosts that breaks at a chosen message.

LISTEN, TARGET: host:port. TYPE: number of a control message (proto/wire/control.h), or "data" for the first bytes of a data stream, "late" for
those of pages that come by post-copy, or "hello". WHEN: before (the message is swallowed) or after (it is let through). At that moment every connection is reset in both
directions; connections that come later are let through, as after an outage. Prints "ready PORT", then "cut" when it has. WHEN may also be mangle: nothing breaks, but one bit of the
manifest that the message begins with is another.

cutter.py LISTEN TARGET each BYTES[:once|:all] - every connection but the first, the control connection, is reset once it has carried so many bytes
to the target; with "once" the first to get there only, and every connection that comes later is reset at once; with "all" the first connection too.
Looks into nothing, so TLS may be inside.
"""
import socket
import struct
import sys
import threading

HELLO, ROLE_AT, INDEX_AT, CONTROL, STREAM, LATE = 64, 10, 12, 1, 2, 4
IN_MANIFEST = 8 + 3  # behind the header, a field's tag and length, and the tag of the first one in it


class Wire:
    def __init__(self, when, kind):
        self.when, self.kind = when, kind
        self.lock = threading.Lock()
        self.turn = threading.Lock()  # no answer passes between a control message and the cut behind it
        self.sockets = set()
        self.done = False

    def cut(self):
        with self.lock:
            if self.done:
                return
            self.done = True
            for s in self.sockets:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        print("cut", flush=True)

    def send(self, to, data, matches):
        """Passes data on; False when the wire broke here."""
        if matches and not self.done and self.when == "mangle":
            self.done = True
            data = data[:IN_MANIFEST] + bytes([data[IN_MANIFEST] ^ 1]) + data[IN_MANIFEST + 1:]
            print("cut", flush=True)
        if matches and not self.done and self.when == "before":
            self.cut()
            return False
        to.sendall(data)
        if matches and not self.done:
            self.cut()
            return False
        return True


def take(sock, n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            return None
        data += part
    return data


def pump(wire, source, to, role):
    """One direction behind the hellos: whole messages on a control connection, plain bytes on a stream."""
    try:
        while True:
            if role == CONTROL:
                head = take(source, 8)
                if head is None:
                    break
                length, kind, _ = struct.unpack("<IHH", head)
                body = take(source, length)
                if body is None:
                    break
                with wire.turn:
                    if not wire.send(to, head + body, str(kind) == wire.kind):
                        break
            else:
                data = source.recv(1 << 16)
                if not data or not wire.send(to, data, (role, wire.kind) in ((STREAM, "data"), (LATE, "late"))):
                    break
    except OSError:
        pass
    finally:
        for s in (source, to):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(wire, client, target):
    server = None
    try:
        server = socket.create_connection(target)
        with wire.lock:
            wire.sockets |= {client, server}
        hello = take(client, HELLO)
        if hello is None or not wire.send(server, hello, wire.kind == "hello"):
            return
        answer = take(server, HELLO)
        if answer is None:
            return
        client.sendall(answer)
        role = hello[ROLE_AT]
        if role == LATE and not hello[INDEX_AT]:
            role = 0  # questions and answers begin before the commit, the pages that nobody asked for after it
        back = threading.Thread(target=pump, args=(wire, server, client, role if role == CONTROL else 0))
        back.start()
        pump(wire, client, server, role)
        back.join()
    except OSError:
        pass
    finally:
        with wire.lock:
            wire.sockets -= {client, server}
        for s in (client, server):
            if s:
                s.close()


class Fraying:
    """each: the first connection holds, the others tear."""

    def __init__(self, text):
        count, _, once = text.partition(":")
        self.bytes, self.once, self.connections, self.torn = int(count), once == "once", int(once == "all"), False
        self.lock = threading.Lock()

    def carry(self, source, to, limit):
        try:
            while limit is None or limit > 0:
                data = source.recv(1 << 16 if limit is None else min(limit, 1 << 16))
                if not data:
                    break
                to.sendall(data)
                limit = limit if limit is None else limit - len(data)
        except OSError:
            pass
        if limit == 0:
            with self.lock:
                self.torn = True
                for s in (source, to):
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            print("cut", flush=True)
        for s in (source, to):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def limit(self):
        with self.lock:
            self.connections += 1
            if self.connections == 1:
                return None
            if not self.once:
                return self.bytes
            return 0 if self.torn else self.bytes


def fray(fraying, client, target):
    limit = fraying.limit()
    try:
        if limit == 0:
            return
        server = socket.create_connection(target)
        back = threading.Thread(target=fraying.carry, args=(server, client, None))
        back.start()
        fraying.carry(client, server, limit)
        back.join()
        server.close()
    except OSError:
        pass
    finally:
        client.close()


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main():
    listen, target, when, kind = sys.argv[1:]
    wire, serving = (Fraying(kind), fray) if when == "each" else (Wire(when, kind), serve)
    listener = socket.create_server(address(listen))
    print("ready %d" % listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serving, args=(wire, client, address(target)), daemon=True).start()


if __name__ == "__main__":
    main()
