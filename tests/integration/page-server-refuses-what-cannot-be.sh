#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Counts that overflow, ranges that are unaligned, overlap or run backwards, holes without a parent, unknown types and commands, text: each ends its own
# session with its reason in the log, publishes nothing, and is not noticed by a session that goes on beside it.
. "$(dirname "$0")/../lib/page_server.sh"
server_start
sender << 'PY'
import time
beside = Sender(os.environ["PORT"])
beside.open(9)
cases = [
    dict(nr=1 << 63, vaddr=0x1000), dict(nr=(1 << 64) - 1, vaddr=0x1000), dict(nr=1 << 52, vaddr=0), dict(nr=1, vaddr=0xfffffffffffff000),
    dict(nr=0, vaddr=0x1000), dict(nr=1, vaddr=0x1234), dict(nr=1, vaddr=0x10000), dict(nr=1, vaddr=0x8000),
    dict(nr=1, vaddr=0x20000, flags=IN_PARENT), dict(nr=1, vaddr=0x20000, flags=5), dict(nr=1, vaddr=0x20000, flags=0),
    dict(nr=1, vaddr=0x20000, dst=1 << 8 | 99), dict(code=GET, nr=1, vaddr=0x10000, dst=1), dict(code=77), dict(code=0),
]
for n, case in enumerate(cases):
    s = Sender(os.environ["PORT"])
    s.open(1)
    s.pages(0x10000, page(1))
    s.say(case.get("code", ADD_F), case.get("flags", PRESENT), case.get("nr", 0), case.get("vaddr", 0), case.get("dst", 1 << 8 | 1))
    try:
        s.s.sendall(page(2))
    except ConnectionError:
        pass
    assert s.dropped(), case
    beside.pages(0x100000 + n * PAGE, page(n))
for noise in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 4096, os.urandom(1000), b"\x16\x03\x01" + bytes(100)):
    s = Sender(os.environ["PORT"])
    s.s.sendall(noise)
    assert s.dropped(), noise[:20]
old = Sender(os.environ["PORT"], 24) # an id that was never opened is what old senders do
old.say(ADD, 0, 1, 0x1000, 5 << 8 | 10)
old.s.sendall(page(5))
assert old.close() == 0
assert beside.close() == 0
entries, data = published(os.environ["IMAGES"] + "/1", 9)
assert entries == [(0x100000, len(cases), 4)] and len(data) == len(cases) * PAGE
end = time.monotonic() + 60
while len(kept := sorted(os.listdir(os.environ["IMAGES"]), key=int)) > 2: # those of the refused go with their processes
    assert time.monotonic() < end, kept
    time.sleep(0.02)
assert len(kept) == 2 and published(os.environ["IMAGES"] + "/" + kept[1], 5) == ([(0x1000, 1, 4)], page(5)), kept
PY
for why in 'longer than memory' 'it is empty' 'not that of a page' 'overlaps or precedes' 'in no parent' 'flags contradict' 'unknown type 99' \
	lazy-pages '0x4d is no command'; do
	await 20 grep -q "session-failed .*$why" "$T/log"
done
server_stop
