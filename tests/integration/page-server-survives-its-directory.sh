#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Symbolic links where files or directories would be made, a full disk in the middle of a page map, a directory that vanishes, also in the middle of a
# session: the session ends with its reason, nothing is written elsewhere or published, and others are served.
. "$(dirname "$0")/../lib/page_server.sh"
[ "$(id -u)" = 0 ] || skip "needs root"
mount -t tmpfs -o size=1M tmpfs "$IMAGES" 2> /dev/null || skip "can't mount here"
mounts=$IMAGES
server_start -D "$IMAGES/%p/%n"
sender << 'PY'
full = Sender(os.environ["PORT"])
full.open(1)
try:
    for n in range(1000):
        full.pages(0x1000 + n * PAGE, page(n % 256))
except ConnectionError:
    pass
assert full.dropped()
PY
no_set() { [ -z "$(find "$IMAGES" -mindepth 2)" ]; }
await 20 no_set
await 20 grep -q 'No space left' "$T/log"
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
import shutil
for put in (False, True):
    before = set(os.listdir(os.environ["IMAGES"] + "/127.0.0.1"))
    s, beside = Sender(os.environ["PORT"]), Sender(os.environ["PORT"])
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
    assert s.dropped()
    assert not put or os.listdir(mine) == ["somebody's"]
    beside.pages(0x1000, page(3))
    assert beside.close() == 0
PY
both_told() { [ "$(grep -c 'session-failed .*publish' "$T/log")" = 2 ]; }
await 20 both_told
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
