#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Counts that overflow, ranges that are unaligned, overlap or run backwards, holes without a parent, unknown types and commands, text: each ends its own session, with either header and
# natively, with the reason in the log; a native sender is told it too. Nothing of them is published or left, and a session that goes on beside them does not notice.
. "$(dirname "$0")/../lib/page_server.sh"
server_start
sender << 'PY'
import collections
import time
TOO_LONG, NO_PARENT = "longer than memory", "in no parent"
cases = [
    (dict(nr=1 << 63, vaddr=0x1000), TOO_LONG), (dict(nr=(1 << 64) - 1, vaddr=0x1000), TOO_LONG), (dict(nr=1 << 52, vaddr=0), TOO_LONG),
    (dict(nr=1, vaddr=0xfffffffffffff000), TOO_LONG), (dict(nr=0xffffffff, vaddr=0x7ffffffffffff000), TOO_LONG),
    (dict(nr=0, vaddr=0x1000), "it is empty"), (dict(nr=1, vaddr=0x1234), "not that of a page"),
    (dict(nr=1, vaddr=0x10000), "overlaps or precedes"), (dict(nr=1, vaddr=0x8000), "overlaps or precedes"),
    (dict(nr=1, vaddr=0x20000, flags=IN_PARENT), NO_PARENT), (dict(nr=1, vaddr=0x20000, flags=IN_PARENT | LAZY), "flags contradict"),
    (dict(nr=1, vaddr=0x20000, flags=IN_PARENT | PRESENT), "flags contradict"), (dict(nr=1, vaddr=0x20000, flags=0), "flags contradict"),
    (dict(nr=1, vaddr=0x20000, dst=1 << 8 | 99), "unknown type 99"), (dict(code=OPEN2, dst=1 << 8 | 3), "unknown type 3"),
    (dict(code=PARENT, dst=1 << 8 | 200), "unknown type 200"), (dict(code=GET, nr=1, vaddr=0x10000, dst=1), "lazy-pages"),
    (dict(code=77), "0x4d is no command"), (dict(code=0), "0x0 is no command"), (dict(code=FRAME | 0x100), "0x2101 is no command"),
]
why = collections.Counter()


def refused(kind, s, words):
    told(kind, s, words)
    why[words] += 1


beside = [connect(os.environ["PORT"]) for connect in SENDERS.values()]
for s in beside:
    s.open(9)
for n, (case, words) in enumerate(cases):
    for kind, connect in SENDERS.items():
        if kind == "24" and case.get("nr", 0) >> 32: # it has no room for that
            continue
        s = connect(os.environ["PORT"])
        s.open(1)
        s.pages(0x10000, page(1))
        s.say(case.get("code", ADD_F), case.get("flags", PRESENT), case.get("nr", 0), case.get("vaddr", 0), case.get("dst", 1 << 8 | 1))
        try:
            s.s.sendall(page(2))
        except ConnectionError:
            pass
        refused(kind, s, words)
    for s in beside:
        s.pages(0x100000 + n * PAGE, page(n))
for kind in ("native", "numbered"): # frames
    for vaddr, words in ((0x10000, "overlaps or precedes"), (0x8000, "overlaps or precedes"), (0x20001, "a frame that isn't one"), (1 << 47, "a frame that isn't one")):
        s = SENDERS[kind](os.environ["PORT"])
        s.open(1)
        s.frame(0x10000, page(1))
        s.frame(vaddr, page(2))
        refused(kind, s, words)
for kind in ("24", "32"): # without the hello that makes them commands
    s = SENDERS[kind](os.environ["PORT"])
    s.open(1)
    s.say(FRAME, PRESENT, 1, 0x10000, s.dst)
    refused(kind, s, "0x2001 is no command")
for noise in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 4096, os.urandom(1000), b"\x16\x03\x01" + bytes(100)):
    s = Sender(os.environ["PORT"])
    s.s.sendall(noise)
    assert s.dropped(), noise[:20]
skips = Native(os.environ["PORT"], numbered=True)
skips.number = 5
skips.say(OPEN2, dst=1 << 8 | 1)
refused("numbered", skips, "not numbered as they have to be")
old = Sender(os.environ["PORT"], 24) # an id that was never opened is what old senders do
old.say(ADD, 0, 1, 0x1000, 5 << 8 | 10)
old.s.sendall(page(5))
assert old.close() == 0
for s in beside:
    assert s.close() == 0
end = time.monotonic() + 60
while len(kept := sorted(os.listdir(os.environ["IMAGES"]), key=int)) > len(beside) + 1: # those of the refused go with their processes
    assert time.monotonic() < end, kept
    time.sleep(0.02)
for n in kept[:-1]:
    entries, data = published(os.environ["IMAGES"] + "/" + n, 9)
    assert entries == [(0x100000, len(cases), 4)] and len(data) == len(cases) * PAGE
assert published(os.environ["IMAGES"] + "/" + kept[-1], 5) == ([(0x1000, 1, 4)], page(5)), kept
failed = []
while not all(sum(words in line for line in failed) >= count for words, count in why.items()): # what is said behind an answer
    assert time.monotonic() < end, why
    with open(os.environ["T"] + "/log") as log:
        failed = [line for line in log if " session-failed " in line]
    time.sleep(0.02)
PY
server_stop
