#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kv_load.py - a client of a redis or memcached server that is moved under its feet, and that knows what the server must hold.

It fills the server with keys whose values follow from their names, says "ready", goes on to write one key after the other, each write
acknowledged before the next, and reconnects - to any of the addresses - when a connection ends. At SIGTERM it stops, reads every
key and every acknowledged write back and prints one JSON object: keys, writes, wrong, reconnects, unreachable_ms, ...
Exit 0: all of it was right.
"""
import argparse
import hashlib
import json
import random
import signal
import socket
import sys
import time

SLOTS = 2000  # keys that the writer goes round


class Connection:
    def __init__(self, address, timeout):
        self.sock = socket.create_connection(address, timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb", 1 << 20)

    def close(self):
        self.file.close()
        self.sock.close()

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        return line[:-2]

    def data(self, n):
        data = self.file.read(n + 2)
        if len(data) != n + 2:
            raise ConnectionError("the server closed the connection")
        return data[:-2]


class Redis(Connection):
    @staticmethod
    def command(*args):
        return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)

    def set_many(self, pairs):
        self.sock.sendall(b"".join(self.command(b"SET", k, v) for k, v in pairs))
        for k, _ in pairs:
            answer = self.line()
            if answer != b"+OK":
                raise RuntimeError("SET %s: %r" % (k, answer))

    def get_many(self, keys):
        self.sock.sendall(b"".join(self.command(b"GET", k) for k in keys))
        for _ in keys:
            head = self.line()
            n = int(head[1:])
            yield None if n < 0 else self.data(n)


class Memcached(Connection):
    def set_many(self, pairs):
        self.sock.sendall(b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (k, len(v), v) for k, v in pairs))
        for k, _ in pairs:
            answer = self.line()
            if answer != b"STORED":
                raise RuntimeError("set %s: %r" % (k, answer))

    def get_many(self, keys):
        self.sock.sendall(b"".join(b"get %s\r\n" % k for k in keys))
        for _ in keys:
            head = self.line()
            if head == b"END":
                yield None
                continue
            value = self.data(int(head.split()[3]))
            if self.line() != b"END":
                raise RuntimeError("get: no END")
            yield value


def value(key, size):
    body = random.Random(key).randbytes(size - 32)
    return hashlib.sha256(body).digest() + body


def batches(n, size=256):
    for first in range(0, n, size):
        yield range(first, min(first + size, n))


class Load:
    def __init__(self, args):
        self.args = args
        self.kind = {"redis": Redis, "memcached": Memcached}[args.protocol]
        self.addresses = [(h, args.port) for h in args.hosts.split(",")]
        self.now_at = 0
        self.end = False
        self.written = {}  # slot -> number of the last write that was acknowledged
        self.count = self.reconnects = 0
        self.gap = (0.0, 0.0)
        self.conn = None

    def connect(self, patience=240.0):
        """The address that answered last, then the others, until one does."""
        limit = time.monotonic() + patience
        while True:
            try:
                self.conn = self.kind(self.addresses[self.now_at], self.args.timeout)
                return
            except OSError:
                self.now_at = (self.now_at + 1) % len(self.addresses)
                if time.monotonic() > limit:
                    raise
                time.sleep(0.001)

    def fill(self):
        for b in batches(self.args.keys):
            self.conn.set_many([(b"key:%d" % i, value(b"key:%d" % i, self.args.size)) for i in b])

    def write_one(self):
        slot, name = self.count % SLOTS, b"write:%d" % self.count
        pair = [(b"slot:%d" % slot, value(name, 256))]
        while True:
            try:
                self.conn.set_many(pair)
                break
            except OSError:
                self.conn.close()
                self.reconnects += 1
                self.connect()
        self.written[slot] = self.count
        self.count += 1

    def write(self):
        last = time.monotonic()
        while not self.end:
            self.write_one()
            now = time.monotonic()
            self.gap = max(self.gap, (now - last, last))
            last = now
            if self.args.pause:
                time.sleep(self.args.pause)
                last += time.monotonic() - now

    def verify(self):
        """Whoever was asked to end when the server had just moved learns of that only here."""
        while True:
            try:
                return self.read_back()
            except OSError:
                self.conn.close()
                self.reconnects += 1
                self.connect()

    def read_back(self):
        wrong = []
        for b in batches(self.args.keys):
            keys = [b"key:%d" % i for i in b]
            wrong += [k for k, v in zip(keys, self.conn.get_many(keys)) if v != value(k, self.args.size)]
        slots = sorted(self.written)
        for b in batches(len(slots)):
            part = [slots[i] for i in b]
            for slot, v in zip(part, self.conn.get_many([b"slot:%d" % s for s in part])):
                if v != value(b"write:%d" % self.written[slot], 256):
                    wrong.append(b"slot:%d (write %d)" % (slot, self.written[slot]))
        return wrong


def main():
    p = argparse.ArgumentParser()
    p.add_argument("protocol", choices=["redis", "memcached"])
    p.add_argument("hosts", help="addresses, comma between; the first is where the server is now")
    p.add_argument("port", type=int)
    p.add_argument("--keys", type=int, default=10000)
    p.add_argument("--size", type=int, default=1024, help="bytes of a value")
    p.add_argument("--pause", type=float, default=0.0002, help="seconds between writes")
    p.add_argument("--timeout", type=float, default=20.0, help="seconds until a silent connection is given up")
    load = Load(p.parse_args())

    def ask_end(*_):
        load.end = True
    signal.signal(signal.SIGTERM, ask_end)
    load.connect()
    load.fill()
    print("ready", flush=True)
    load.write()
    wrong = load.verify()
    print(json.dumps({
        "keys": load.args.keys, "writes": load.count, "wrong": len(wrong), "wrong_first": [w.decode() for w in wrong[:5]],
        "reconnects": load.reconnects, "now_at": load.addresses[load.now_at][0],
        "unreachable_ms": round(load.gap[0] * 1000, 3), "unreachable_at": load.gap[1]}), flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
