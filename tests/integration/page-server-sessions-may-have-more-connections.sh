#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A native session has further connections by its token alone, also while as many sessions run as may; what comes on them is taken in the order of the numbers. A
# frame goes on in the middle for who knows that, else comes again, and is written once. A
# sender that goes without a word is waited for as long as it was said, and then nothing of its session is left; if its set is published by then, the log has said so.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --max-sessions 1 --metrics "unix:$T/m"
cat > "$T/numbered.py" << 'PY'
from ps_sender import *
port = os.environ["PORT"]


def hello(role, *args, features=FEATURES | NUMBERED):
    s = Sender(port)
    return s, *s.hello(role, *args, features=features)


def more(index, token, parts=None):
    s, status, _, _ = hello(7, index, token)
    assert status == 0, status
    magic, part, taken = struct.unpack("<4sIQ", s.take(16))
    assert magic == b"DRA1", magic
    if parts is None:
        assert part == 0, part
        return s, taken
    parts.append(part)
    return s, taken


def say(s, number, *command):
    s.s.sendall(struct.pack("<Q", number))
    s.say(*command)
PY
sender << 'PY'
from numbered import *
from prometheus import metrics
first, status, features, token = hello(5)
assert status == 0 and features & 0x40 and token != bytes(16)
wrong, status, _, _ = hello(7, 1, bytes([token[0] ^ 1]) + token[1:])
assert status == 2 and wrong.dropped()
assert hello(7, 1)[1] == 2
try: # it is none of that session's, and no other may begin
    other = Sender(port)
    other.open(8)
    raise AssertionError("a session more than may run")
except (ConnectionError, EOFError):
    pass
eager = Sender(port) # says more than its hello, before it is known whose it is
eager.s.sendall(struct.pack(HELLO, b"DRAY\r\n\x1a\n", 1, 7, 0, 1, FEATURES | NUMBERED, bytes(16), 1024, 0, token) + bytes(8))
assert eager.dropped()
second, taken = more(1, token)
assert taken == 0
dst = 7 << 8 | 1
say(second, 1, ADD_F, PRESENT, 1, 0x1000, dst) # before the map is opened: it waits
second.s.sendall(page(1))
say(first, 0, OPEN2, 0, 0, 0, dst)
assert Native.answer(first) == 0
long = b"".join(page(n) for n in range(64)) # so long that another session would have it spliced
say(first, 2, ADD_F, PRESENT, 64, 0x2000, dst)
first.s.sendall(long[:150000]) # cut in the middle of it, and once more on the next one
first.s.close()
first, taken = more(0, token)
assert taken in (1, 2), taken
say(first, 2, ADD_F, PRESENT, 64, 0x2000, dst)
first.s.sendall(long[:3000])
first, taken = more(0, token) # beside the one that is there
say(first, 2, ADD_F, PRESENT, 64, 0x2000, dst)
first.s.sendall(long)
say(second, 3, ADD_F, PRESENT, 1, 0x42000, dst)
second.s.sendall(page(3))
say(first, 4, PARENT, 0, 0, 0, dst)
assert Native.answer(first) == 0 # so all before was taken
block = page(7) * 16
say(first, 5, FRAME, PRESENT, 16, 0x60000, dst) # of one block, which is cut; the same pages may then come in another way
first.s.sendall(frame(0x60000, 16, struct.pack("<I", 1 << 31 | len(block)) + block, 0, LZ4)[:-1000])
first.s.close()
first, taken = more(0, token)
assert taken == 5, taken
say(first, 5, ADD_F, PRESENT, 16, 0x60000, dst)
first.s.sendall(block)
say(first, 6, CLOSE)
assert Native.answer(first) == 0
say(first, 6, CLOSE) # as if that had been lost
assert Native.answer(first) == 0
first.s.sendall(b"\xff" * 8)
sets = os.listdir(os.environ["IMAGES"])
assert len(sets) == 1, sets
assert published(os.environ["IMAGES"] + "/" + sets[0], 7) == ([(0x1000, 66, 4), (0x60000, 16, 4)], page(1) + long + page(3) + block)
m = metrics("unix:" + os.environ["T"] + "/m")
assert m["dray_page_server_connections_joined_total"] == 4, m
assert m["dray_page_server_ranges_total"] == 4 and m["dray_page_server_pages_total"] == 82, m # each once
PY
await 20 grep -q 'connection-refused .*of no session that runs' "$T/log"
await 20 grep -q 'session-published' "$T/log"
server_stop
rm -r "$IMAGES"
mkdir "$IMAGES"

server_start --max-sessions 1 --resume-timeout 300ms
sender << 'PY'
s = Native(os.environ["PORT"], numbered=True)
s.open(7)
s.s.close()
PY
await 20 nothing_published
await 20 grep -q 'session-failed .*no other connection came: ' "$T/log"
server_stop

server_start
sender << 'PY'
from numbered import *
import glob
import time
dst = 7 << 8 | 1


def frame(sequence):
    head = struct.pack("<IxxxxQQQ", 0x2001 | PRESENT << 16, 6, 0x10000, dst)
    head += struct.pack("<4sBxHIIIIIxxxxQQ", b"DRF1", 1, 0, 0, 1, 3, 5, 5 * PAGE, 0, sequence)
    for run in ((0x10000, 3, 0), (0x13000, 1, 1), (0x14000, 2, 0)):
        head += struct.pack("<QII", *run)
    return head, head + b"".join(page(n) for n in (1, 2, 3, 5, 6))


cuts = 0
def await_cut():
    end = time.monotonic() + 60
    while True:
        with open(os.environ["T"] + "/log") as f:
            if f.read().count("stream-cut stream=0 command=1 ") == cuts:
                return
        assert time.monotonic() < end
        time.sleep(0.02)


with open(os.environ["T"] + "/log") as f:
    cuts = f.read().count("stream-cut stream=0 command=1 ")
for features in (FEATURES | NUMBERED, FEATURES | NUMBERED | PARTS):
    s, status, known, token = hello(5, features=features)
    assert status == 0 and known == features, known
    say(s, 0, OPEN2, 0, 0, 0, dst)
    assert Native.answer(s) == 0
    head, whole = frame(0)
    at = 0
    for cut in (len(head) // 2, len(head), len(head) + 100, len(head) + PAGE + 1, len(head) + 3 * PAGE, len(whole) - 1):
        s.s.sendall(struct.pack("<Q", 1) + whole[at:cut])
        s.s.close()
        cuts += 1
        await_cut()
        parts = []
        s, taken = more(0, token, parts)
        at = parts[0]
        has = (cut - len(head)) // PAGE * PAGE + len(head) if cut >= len(head) else 0
        assert taken == 1 and at == (has if features & PARTS else 0), (taken, at, has)
    s.s.sendall(struct.pack("<Q", 1) + whole[at:])
    say(s, 2, CLOSE)
    assert Native.answer(s) == 0
    s.s.sendall(b"\xff" * 8)
    where, = glob.glob(os.environ["IMAGES"] + "/*/pagemap-7.img")
    assert published(os.path.dirname(where), 7) == ([(0x10000, 6, 4)], page(1) + page(2) + page(3) + page(0) + page(5) + page(6))
    os.unlink(where)
PY
server_stop
rm -r "$IMAGES"
mkdir "$IMAGES"

# It has heard the status, and its last word is lost with the connection: nobody can tell that from a cut before the status, which is asked for again.
: > "$T/log"
server_start --resume-timeout 1h
sender << 'PY'
s = Sender(os.environ["PORT"])
s.s.sendall(struct.pack("<8sHBBIQ16sII16s", b"DRAY\r\n\x1a\n", 1, 5, 0, 0, 0x62, bytes(16), 1024, 0, bytes(16)))
s.take(64)
s.s.sendall(struct.pack("<Q", 0))
s.say(OPEN2, dst=7 << 8 | 1)
s.take(8)
s.s.sendall(struct.pack("<Q", 1))
s.say(CLOSE)
assert s.take(8) == bytes(8)
s.s.close()
PY
await 20 grep -q 'stream-cut' "$T/log"
[ "$(grep -c 'session-published .*maps=1 ' "$T/log")" = 1 ] || fail "what is published is not said to be"
server_stop
