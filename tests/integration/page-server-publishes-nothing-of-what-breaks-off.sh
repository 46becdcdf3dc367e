#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A connection that ends early, a session that is killed, one that is idle or too long or too large, and one that the server's end cuts: nothing of
# them is left, their neighbours arrive.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --idle-timeout 60s
sender << 'PY'
good = Sender(os.environ["PORT"])
good.open(1)
good.pages(0x1000, page(1))
for cut in (0, 10, 24, 32, 40, 100, 4000):
    s = Sender(os.environ["PORT"])
    s.open(2)
    s.s.sendall((struct.pack("<IxxxxQQQ", ADD_F | PRESENT << 16, 1, 0x1000, 2 << 8 | 1) + page(2))[:cut])
    s.s.close()
good.pages(0x2000, page(3))
assert good.close() == 0
assert published(os.environ["IMAGES"] + "/1", 1) == ([(0x1000, 2, 4)], page(1) + page(3))
PY
only_first() { [ "$(ls "$IMAGES")" = 1 ]; }
await 20 only_first
rm -r "$IMAGES/1"

# killed: its process can clean nothing up, the server does
sender << 'PY'
import signal, time
server = os.environ["SERVER"]
def sessions():
    with open("/proc/%s/task/%s/children" % (server, server)) as f:
        return f.read().split()
end = time.monotonic() + 60
while sessions(): # those before have ended, and are waited for
    assert time.monotonic() < end
    time.sleep(0.01)
s = Sender(os.environ["PORT"])
s.open(2)
s.pages(0x1000, page(2))
session, = sessions()
os.kill(int(session), signal.SIGKILL)
assert s.dropped()
PY
await 20 nothing_published
server_stop
server_start --session-bytes 8K
sender << 'PY'
large = Sender(os.environ["PORT"])
large.open(1)
large.pages(0x1000, page(1) + page(2))
large.say(ADD_F, PRESENT, 1, 0x10000, 1 << 8 | 1)
assert large.dropped()
PY
await 20 nothing_published
await 20 grep -q 'exceed the 8192 bytes' "$T/log"
server_stop
server_start --session-pages 4 # contents, holes and page maps alike
sender << 'PY'
wordy = Sender(os.environ["PORT"])
wordy.open(1)
wordy.pages(0x1000, page(1))
wordy.hole(0x10000, 1, LAZY)
beside = Sender(os.environ["PORT"])
beside.open(2)
beside.pages(0x1000, page(2) * 3)
wordy.hole(0x20000, 1 << 40, LAZY)
assert wordy.dropped()
assert beside.close() == 0
PY
await 20 grep -q 'more than the 4 pages allowed' "$T/log"
no_wordy() { [ "$(ls "$IMAGES")" = 2 ]; }
await 20 no_wordy
rm -r "$IMAGES/2"
server_stop
server_start --idle-timeout 100ms
sender << 'PY'
silent, huge = (Sender(os.environ["PORT"]) for _ in range(2))
try:
    huge.open(1)
    huge.say(ADD_F, PRESENT, 1 << 18, 0x10000, 1 << 8 | 1) # a gibibyte announced, never sent
except (ConnectionError, EOFError): # on a slow machine it has been silent for too long by now
    pass
assert huge.dropped()
assert silent.dropped()
PY
await 20 nothing_published
await 20 grep -q 'nothing came for 100 ms' "$T/log"
server_stop
