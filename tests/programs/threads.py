#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""threads.py DIR - a threaded Python program that checks its own data while it runs. Keeps DIR/beat, DIR/ready, DIR/verdict as
bench/workload.c does: numbers counting up by one; a file once it is under way; at SIGUSR1 what it found.

Producers put numbered blocks with their digests into a bounded queue, consumers take them out, check and keep them in dictionaries; an
auditor walks the dictionaries under the lock. Sums at both ends must agree: nothing lost, nothing twice.
"""
import hashlib
import os
import queue
import random
import signal
import sys
import threading
import time

PRODUCERS, CONSUMERS, KEPT = 3, 3, 3000


class Program:
    def __init__(self):
        self.queue = queue.Queue(64)
        self.lock = threading.Lock()
        self.kept = {}
        self.put_sum = [0] * PRODUCERS
        self.got_sum = [0] * CONSUMERS
        self.wrong = []
        self.pause = threading.Event()
        self.pause.set()

    def produce(self, me):
        rng, n = random.Random(me), 0
        while True:
            self.pause.wait()
            body = rng.randbytes(1000)
            number = n * PRODUCERS + me
            self.put_sum[me] += number
            self.queue.put((number, body, hashlib.sha256(body).digest()))
            n += 1
            time.sleep(0.001)

    def consume(self, me):
        while True:
            number, body, digest = self.queue.get()
            if hashlib.sha256(body).digest() != digest:
                self.wrong.append("block %d on its way" % number)
            with self.lock:
                self.kept[number] = (body, digest)
                while len(self.kept) > KEPT:
                    self.kept.pop(next(iter(self.kept)))
            self.got_sum[me] += number
            self.queue.task_done()

    def audit(self):
        with self.lock:
            for number, (body, digest) in self.kept.items():
                if hashlib.sha256(body).digest() != digest:
                    self.wrong.append("block %d as kept" % number)

    def auditor(self):
        while True:
            self.audit()
            time.sleep(0.05)

    def verdict(self):
        """Stands the producers still, lets the queue run empty and compares."""
        self.pause.clear()
        time.sleep(0.05)  # a producer that is past its wait puts its block
        self.queue.join()
        self.audit()
        if sum(self.put_sum) != sum(self.got_sum):
            self.wrong.append("put %d, got %d" % (sum(self.put_sum), sum(self.got_sum)))
        self.pause.set()
        return '{"verdict":"%s","wrong":"%s"}\n' % ("wrong" if self.wrong else "right", "; ".join(self.wrong[:5]))


def write_file(path, text):
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)


def main():
    where, asked, p = sys.argv[1], [], Program()
    signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
    work = [(p.produce, i) for i in range(PRODUCERS)] + [(p.consume, i) for i in range(CONSUMERS)]
    for f, i in work:
        threading.Thread(target=f, args=(i,), daemon=True).start()
    threading.Thread(target=p.auditor, daemon=True).start()
    beat, n = os.open(where + "/beat", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666), 0
    while True:
        n += 1
        os.write(beat, b"%d\n" % n)
        if n == 100:
            write_file(where + "/ready", "ready\n")
        if asked:
            asked.clear()
            write_file(where + "/verdict", p.verdict())
        time.sleep(0.002)


if __name__ == "__main__":
    main()
