#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Symbolic links where files or directories would be made, a full disk in the middle of a page map, a directory that vanishes: the session ends with
# its reason, nothing is written elsewhere or published, and the next session is served.
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
grep -q 'No space left' "$T/log" || fail "the full disk is not in the log"
mkdir "$T/elsewhere"
rmdir "$IMAGES/127.0.0.1"
ln -s "$T/elsewhere" "$IMAGES/127.0.0.1"
sender << 'PY'
s = Sender(os.environ["PORT"])
assert s.dropped()
PY
[ -z "$(ls "$T/elsewhere")" ] || fail "a link was followed"
rm "$IMAGES/127.0.0.1"
umount "$IMAGES"; mounts=
rmdir "$IMAGES"
sender << 'PY'
s = Sender(os.environ["PORT"])
assert s.dropped()
PY
grep -q 'session-refused .*No such file' "$T/log" || fail "the missing directory is not in the log"
mkdir "$IMAGES"
sender << 'PY'
s = Sender(os.environ["PORT"])
s.open(1)
s.pages(0x1000, page(1))
assert s.close() == 0
PY
[ "$(find "$IMAGES" -name 'pagemap-1.img' | wc -l)" = 1 ] || fail "the last session was not published"
server_stop
