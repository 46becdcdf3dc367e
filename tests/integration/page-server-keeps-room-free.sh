#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# With --keep-free a session that would leave less room than that ends before it writes, whichever protocol it speaks and however it sends; nothing of it is left, smaller ones are
# served, and the metrics tell it, as they do of a disk that is full.
. "$(dirname "$0")/../lib/page_server.sh"
[ "$(id -u)" = 0 ] || skip "needs root"
mount -t tmpfs -o size=4M tmpfs "$IMAGES" 2> /dev/null || skip "can't mount here"
mounts=$IMAGES
cat > "$T/free.py" << 'PY'
import time
from ps_sender import *
from prometheus import await_metric
hits = 0


def hit():
    global hits
    hits += 1
    await_metric("unix:%s/m" % os.environ["T"], 'dray_limits_hit_total{limit="keep-free"}', hits)


def at_once(s, pages):
    s.pages(0x1000, page(1) * pages)


def by_and_by(s, pages):
    for n in range(pages):
        s.pages(0x1000 + 2 * n * PAGE, page(n % 256))


def by_frames(s, pages):
    for n in range(0, pages, 64):
        s.frame(0x1000 + n * PAGE, page(n % 256) * 64)


def nothing_left():
    end = time.monotonic() + 60
    while os.listdir(os.environ["IMAGES"]):
        assert time.monotonic() < end, os.listdir(os.environ["IMAGES"])
        time.sleep(0.02)
PY
server_start --keep-free 2M --metrics "unix:$T/m"
sender << 'PY'
import shutil
import sys
sys.path.insert(0, os.environ["T"])
from free import *
for kind, connect in SENDERS.items():
    for fill in (at_once, by_and_by) + (by_frames,) * (kind in ("native", "numbered")):
        greedy = connect(os.environ["PORT"])
        greedy.open(1)
        try:
            fill(greedy, 640)
        except ConnectionError:
            pass
        told(kind, greedy, "page map of task 1: ", "bytes are free", "--keep-free")
        hit()
        nothing_left()
    modest = connect(os.environ["PORT"])
    modest.open(1)
    modest.pages(0x1000, page(1) * 256)
    assert modest.close() == 0
    one, = os.listdir(os.environ["IMAGES"])
    assert published(os.environ["IMAGES"] + "/" + one, 1)[1] == page(1) * 256
    shutil.rmtree(os.environ["IMAGES"] + "/" + one)
with open(os.environ["IMAGES"] + "/filler", "wb") as f:
    os.posix_fallocate(f.fileno(), 0, 3 << 20)
late = Sender(os.environ["PORT"]) # who comes when less than that is free learns it when it opens its first page map
late.open(9)
assert late.dropped()
hit()
os.unlink(os.environ["IMAGES"] + "/filler")
PY
server_stop
server_start --metrics "unix:$T/m"
sender << 'PY'
import sys
sys.path.insert(0, os.environ["T"])
from free import *
full = Sender(os.environ["PORT"])
full.open(1)
try:
    at_once(full, 2000)
except ConnectionError:
    pass
assert full.dropped()
hit()
PY
server_stop
