#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Symbolic links where files or directories would be made, a full disk in the middle of a page map and while a set is published, a directory that vanishes, also in the middle of a
# session, with either header and natively: the session ends with its reason, of which a native sender is told, nothing is written elsewhere or published, and others are served.
. "$(dirname "$0")/../lib/page_server.sh"
[ "$(id -u)" = 0 ] || skip "needs root"
mount -t tmpfs -o size=1M tmpfs "$IMAGES" 2> /dev/null || skip "can't mount here"
mounts=$IMAGES
server_start -D "$IMAGES/%p/%n"
cat > "$T/left.py" << 'PY'
import os, time
def nothing_but(directory, *names):
    end = time.monotonic() + 60
    while sorted(os.listdir(directory)) != sorted(names):
        assert time.monotonic() < end, os.listdir(directory)
        time.sleep(0.02)
PY
sender << 'PY'
import sys
sys.path.insert(0, os.environ["T"])
from left import nothing_but


def by_pages(s):
    for n in range(1000):
        s.pages(0x1000 + n * PAGE, page(n % 256))


def by_a_long_range(s):
    s.pages(0x1000, page(1) * 512)


def by_frames(s):
    for n in range(4):
        s.frame(0x1000 + n * 256 * PAGE, page(n) * 256)


for kind, connect in SENDERS.items():
    for fill in (by_pages, by_a_long_range) + (by_frames,) * (kind in ("native", "numbered")):
        full = connect(os.environ["PORT"])
        full.open(1)
        try:
            fill(full)
        except ConnectionError:
            pass
        told(kind, full, "page map of task 1: ", "No space left")
        nothing_but(os.environ["IMAGES"] + "/127.0.0.1")
PY
await 20 grep -q 'No space left' "$T/log"
server_stop
mkdir "$IMAGES/base"
server_start --once -D "$IMAGES/base"
sender << 'PY'
s = Sender(os.environ["PORT"])
s.open(1)
s.pages(0x1000, page(1) * 140)
assert s.close() == 0
PY
wait "$server" || fail "--once: $?"
server_start --flat --prev-images-dir "$IMAGES/base" -D "$IMAGES/%p-%n"
sender << 'PY'
import shutil, sys
sys.path.insert(0, os.environ["T"])
from left import nothing_but
before = sorted(os.listdir(os.environ["IMAGES"] + "/base"))
for kind, connect in SENDERS.items():
    s = connect(os.environ["PORT"])
    assert s.open(1) == 1
    s.hole(0x1000, 140)
    s.say(CLOSE)
    told(kind, s, "fold the set with its parents", "No space left")
    nothing_but(os.environ["IMAGES"], "base", "127.0.0.1")
    assert sorted(os.listdir(os.environ["IMAGES"] + "/base")) == before
s = Sender(os.environ["PORT"])
assert s.open(1) == 1
s.hole(0x1000, 20)
assert s.close() == 0
for name in os.listdir(os.environ["IMAGES"]):
    if name != "127.0.0.1":
        shutil.rmtree(os.environ["IMAGES"] + "/" + name)
PY
server_stop
server_start -D "$IMAGES/%p/%n"
mkdir "$T/elsewhere"
rmdir "$IMAGES/127.0.0.1"
ln -s "$T/elsewhere" "$IMAGES/127.0.0.1"
sender << 'PY'
s = Sender(os.environ["PORT"])
assert s.dropped()
PY
[ -z "$(ls "$T/elsewhere")" ] || fail "a link was followed"
rm "$IMAGES/127.0.0.1"
released() { umount "$IMAGES" 2> /dev/null; }
await 20 released # not before the process of the last session is gone
mounts=
rmdir "$IMAGES"
sender << 'PY'
s = Sender(os.environ["PORT"])
assert s.dropped()
PY
await 20 grep -q 'session-refused .*No such file' "$T/log"
mkdir "$IMAGES"
sender << 'PY'
s = Sender(os.environ["PORT"])
s.open(1)
s.pages(0x1000, page(1))
assert s.close() == 0
PY
[ "$(find "$IMAGES" -name 'pagemap-1.img' | wc -l)" = 1 ] || fail "the last session was not published"

# a session's directory is taken away under it, while another one goes on; with something else in its place it is the same
sender << 'PY'
import itertools
import shutil
for (kind, connect), put in itertools.product(SENDERS.items(), (False, True)):
    before = set(os.listdir(os.environ["IMAGES"] + "/127.0.0.1"))
    s, beside = connect(os.environ["PORT"]), Sender(os.environ["PORT"])
    s.open(1)
    beside.open(2)
    s.pages(0x1000, page(1))
    assert s.parent(1) == 0  # so its files are made
    mine = min(set(os.listdir(os.environ["IMAGES"] + "/127.0.0.1")) - before, key=int)
    mine = os.environ["IMAGES"] + "/127.0.0.1/" + mine
    shutil.rmtree(mine)
    if put:
        os.makedirs(mine + "/somebody's")
    s.pages(0x2000, page(2))
    s.say(CLOSE)
    told(kind, s, "publish")
    assert not put or os.listdir(mine) == ["somebody's"]
    beside.pages(0x1000, page(3))
    assert beside.close() == 0
PY
all_told() { [ "$(grep -c 'session-failed .*publish pages-' "$T/log")" = 8 ]; }
await 20 all_told
server_stop

# links under the names of a set's files: what they point to is neither written to nor made
rm -r "$IMAGES"; mkdir "$IMAGES"
echo kept > "$T/kept"
ln -s "$T/kept" "$IMAGES/pagemap-1.img"
ln -s "$T/kept" "$IMAGES/pages-65537.img"
ln -s "$T/not-there" "$IMAGES/pages-65538.img"
ln -s "$T/not-there" "$IMAGES/pagemap-2.img"
server_start --once
sender << 'PY'
s = Sender(os.environ["PORT"])
for pid in (1, 2):
    s.open(pid)
    s.pages(0x1000, page(pid))
assert s.close() == 0
for pid in (1, 2):
    assert published(os.environ["IMAGES"], pid) == ([(0x1000, 1, 4)], page(pid))
PY
wait "$server" || fail "--once: $?"
server=
[ "$(cat "$T/kept")" = kept ] && [ ! -e "$T/not-there" ] || fail "a link was followed"
[ -z "$(find "$IMAGES" -name 'pagemap-*' -type l)" ] || fail "a link passes for a page map"
