#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two senders, one with the header of criu up to 4.1 and one with that of 4.2, send in turn: each has its directory, pages, holes and memory of its own.
. "$(dirname "$0")/../lib/page_server.sh"
server_start
sender << 'PY'
a, b = Sender(os.environ["PORT"], 24), Sender(os.environ["PORT"], 32)
for s, byte in ((a, 1), (b, 2)):
    assert s.parent(41) == 0 and s.open(41) == 0
for n in range(64):
    for s, byte in ((a, 1), (b, 2)):
        s.pages(0x100000 + 3 * n * PAGE, page(byte) + page(byte + n), PRESENT | (n % 2) * LAZY)
for s, byte in ((a, 1), (b, 2)):
    s.hole(0x10000000, 5, LAZY)
    s.open(7, kind=2)
    s.pages(0, page(100 + byte))
assert a.close() == 0 and b.close() == 0
for n, byte in ((1, 1), (2, 2)):
    where = os.path.join(os.environ["IMAGES"], str(n))
    entries, data = published(where, 41)
    assert entries == [(0x100000 + 3 * i * PAGE, 2, 4 + i % 2 * 2) for i in range(64)] + [(0x10000000, 5, 2)], entries
    assert data == b"".join(page(byte) + page(byte + i) for i in range(64))
    assert published(where, 7, 2) == ([(0, 1, 4)], page(100 + byte))
    assert not [f for f in os.listdir(where) if f[0] == "."], os.listdir(where)
PY
server_stop
grep -q 'published header=24' "$T/log" && grep -q 'published header=32' "$T/log" || fail "the layouts were not told apart"
