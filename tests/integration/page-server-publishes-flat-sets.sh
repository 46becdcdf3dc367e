#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# With --flat each round's set has all its pages: what came, what it left to the one before, in order; the sets before can go, and the next round still
# finds its parent. Into one directory again and again, too. A round with a hole that nothing fills is not published.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --flat --chain
sender << 'PY'
import shutil
images = os.environ["IMAGES"]
want = {}
for n in range(1, 8):
    s = Sender(os.environ["PORT"])
    assert s.open(1) == (n > 1)
    at = 0x10000
    for i in range(40):
        if n > 1 and i % (n + 1):
            s.hole(at + i * PAGE, 1)
        else:
            want[i] = page(n * 31 + i)
            s.pages(at + i * PAGE, want[i])
    s.open(7, kind=2)
    s.pages(0, page(n))
    assert s.close() == 0
    here = images + "/%d" % n
    assert sorted(f[:7] for f in os.listdir(here)) == ["pagemap", "pagemap", "pages-6", "pages-6"], os.listdir(here)
    entries, data = published(here, 1)
    assert entries == [(at, 40, PRESENT)], entries
    assert data == b"".join(want[i] for i in range(40))
    assert published(here, 7, 2) == ([(0, 1, PRESENT)], page(n))
    if n > 1:
        shutil.rmtree(images + "/%d" % (n - 1))
s = Sender(os.environ["PORT"])
s.open(1)
s.hole(0x10000 + 40 * PAGE, 1)
assert s.dropped()
PY
server_stop
rm -r "$IMAGES"; mkdir -p "$IMAGES/base" "$IMAGES/same"
server_start --once -D "$IMAGES/base"
sender << 'PY'
s = Sender(os.environ["PORT"])
for pid in (1, 2, 3):
    s.open(pid)
    s.pages(0x1000, page(pid) + page(pid + 10))
assert s.close() == 0
PY
wait "$server" || fail "--once ended with $?"
for _ in 1 2 3; do
	server_start --once -D "$IMAGES/same" --flat --prev-images-dir ../base
	sender << 'PY'
s = Sender(os.environ["PORT"])
for pid in (1, 2, 3):
    assert s.open(pid) == 1
    s.hole(0x1000, 1)
    s.pages(0x2000, page(pid + 20))
assert s.close() == 0
for pid in (1, 2, 3):
    assert published(os.environ["IMAGES"] + "/same", pid) == ([(0x1000, 2, PRESENT)], page(pid) + page(pid + 20))
assert len(os.listdir(os.environ["IMAGES"] + "/same")) == 6
PY
	wait "$server" || fail "--once ended with $?"
	server=
done
