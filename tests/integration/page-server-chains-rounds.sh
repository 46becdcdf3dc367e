#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# With --chain a sender's next session has its last published one as parent, by the time that it can come back; a session that failed in between
# breaks the chain, and so does a numbered one whose connection is cut before it is published, not behind that; a connection that joins one does not. Who takes the last set away ends
# it, which costs nobody a session. With --prev-images-dir and --auto-dedup the parent is the named one, and loses what is sent again.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --chain --metrics "unix:$T/m"
sender << 'PY'
for n in range(1, 60):
    s = Sender(os.environ["PORT"])
    assert s.parent(1) == (n > 1), n
    assert s.open(1) == (n > 1), n
    if n > 1:
        s.hole(0x1000, 1)
        s.pages(0x2000, page(n))
    else:
        s.pages(0x1000, page(0) + page(1))
    assert s.close() == 0
    if n > 1:
        assert os.readlink(os.environ["IMAGES"] + "/%d/parent" % n) == "../%d" % (n - 1)
s = Sender(os.environ["PORT"])
assert s.open(1) == 1
s.s.close()
while len(os.listdir(os.environ["IMAGES"])) > 59: # its directory goes when the server knows
    pass
PY
broken() { grep -q session-failed "$T/log"; }
await 20 broken
sender << 'PY'
import time
end = time.monotonic() + 60
while True: # the server learns of a process that ended a moment after it did
    s = Sender(os.environ["PORT"])
    if s.open(1) == 0:
        break
    s.pages(0x1000, page(1)) # a parent with this page map, were it not for the one that failed
    assert s.close() == 0
    assert time.monotonic() < end
import shutil
s.pages(0x1000, page(1))
assert s.close() == 0
images = os.environ["IMAGES"] + "/"
shutil.rmtree(images + max(os.listdir(images), key=int))
for parent in (0, 1):
    s = Sender(os.environ["PORT"])
    assert s.parent(1) == parent and s.open(1) == parent, parent
    s.pages(0x1000, page(2))
    assert s.close() == 0
from prometheus import await_metric
s = Native(os.environ["PORT"], numbered=True) # another connection of a session is no session that failed
assert s.open(1) == 1
s.pages(0x1000, page(3))
s.say(CLOSE)
assert s.answer() == 0
s.s.close()
again = Sender(os.environ["PORT"])
assert again.hello(7, 0, s.token, FEATURES | NUMBERED)[0] == 0
again.take(16)
again.s.sendall(struct.pack("<Q", s.number - 1))
again.say(CLOSE)
assert Native.answer(again) == 0
again.s.sendall(b"\xff" * 8)
again.s.close()
await_metric("unix:" + os.environ["T"] + "/m", "dray_page_server_sessions_running", 0)
s = Sender(os.environ["PORT"])
assert s.open(1) == 1
s.pages(0x1000, page(4))
assert s.close() == 0
PY
await 20 grep -q 'chain-ends peer=127.0.0.1 dir=".*" reason="it is not there any more"' "$T/log"
server_stop
rm -r "$IMAGES"; mkdir "$IMAGES"
: > "$T/log"
server_start --chain --resume-timeout 1h --metrics "unix:$T/m"
sender << 'PY'
import time
from prometheus import await_metric
port, where, ps = os.environ["PORT"], "unix:" + os.environ["T"] + "/m", "dray_page_server_"


def await_cuts(n):
    end = time.monotonic() + 60
    while True:
        with open(os.environ["T"] + "/log") as log:
            if log.read().count("stream-cut") == n:
                return
        assert time.monotonic() < end
        time.sleep(0.02)


def whole(parent):
    s = Sender(port)
    assert s.open(1) == parent, parent
    s.pages(0x1000, page(1))
    assert s.close() == 0


s = Native(port, numbered=True)
assert s.open(1) == 0
s.pages(0x1000, page(1))
s.say(CLOSE)
assert s.answer() == 0
s.s.close() # its last word is lost; it waits for that
await_cuts(1)
s = Native(port, numbered=True)
assert s.open(1) == 1
whole(1)
joins = Sender(port)
assert joins.hello(7, 1, s.token, FEATURES | NUMBERED)[0] == 0
await_metric(where, ps + "connections_joined_total", 1)
await_metric(where, ps + "sessions_running", 2)
whole(1)
await_metric(where, ps + "sessions_running", 2) # the server has heard of it
s.s.close()
await_cuts(2)
whole(0)
PY
server_stop
rm -r "$IMAGES"; mkdir -p "$IMAGES/base"
server_start --once -D "$IMAGES/base"
sender << 'PY'
s = Sender(os.environ["PORT"])
s.open(1)
s.pages(0x1000, b"".join(page(n) for n in range(64)))
assert s.close() == 0
PY
wait "$server" || fail "--once ended with $?"
before=$(stat -c %b "$IMAGES/base/pages-65537.img")
mkdir "$IMAGES/next"
server_start --once -D "$IMAGES/next" --prev-images-dir ../base --auto-dedup
sender << 'PY'
s = Sender(os.environ["PORT"])
assert s.open(1) == 1
s.pages(0x1000, b"".join(page(n) for n in range(32)))
s.hole(0x1000 + 32 * PAGE, 32)
assert s.close() == 0
PY
freed() { [ "$(stat -c %b "$IMAGES/base/pages-65537.img")" -lt "$before" ]; }
await 20 freed
wait "$server" || fail "--once ended with $?"
server=
rc=0; "$DRAY" page-server -D "$IMAGES" --prev-images-dir ../base --auto-dedup 2> "$T/err" || rc=$?
[ "$rc" = 2 ] && grep -q 'what other sessions may leave to it' "$T/err" || fail "many sessions may free what each other need: $rc, $(cat "$T/err")"
