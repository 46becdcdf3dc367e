#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A connection that ends early, a session that is killed, one that is idle or too long or too large, and one that the server's end cuts, with either header and natively: nothing of
# them is left, a native sender is told why where somebody is left to tell it, their neighbours arrive.
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
# which touches nothing of what took the place of its directory
server_start --metrics "unix:$T/m"
sender << 'PY'
import signal
from prometheus import await_metric
server = os.environ["SERVER"]
running = "unix:" + os.environ["T"] + "/m", "dray_page_server_sessions_running"
def children():
    with open("/proc/%s/task/%s/children" % (server, server)) as f:
        return set(f.read().split())
others = children() # who shows the metrics
s = Sender(os.environ["PORT"])
s.open(2)
session, = children() - others
own, = os.listdir(os.environ["IMAGES"])
own = os.environ["IMAGES"] + "/" + own
aside = os.environ["T"] + "/others/.drayage-set-00000000"
os.makedirs(aside)
os.rename(own, os.environ["T"] + "/moved")
os.symlink(os.environ["T"] + "/others", own)
os.kill(int(session), signal.SIGKILL)
assert s.dropped()
await_metric(*running, 0)
assert os.path.isdir(aside)
os.unlink(own)
PY
nothing_published || fail "left $(find "$IMAGES" -mindepth 1)"
server_stop
limit() { # WORDS TIMES OPTION...: a server with that option, to which Python on standard input sends; each of its sessions fails with these words
	: > "$T/log"
	server_start "${@:3}"
	WORDS=$1 sender
	all_failed() { [ "$(grep -c "session-failed .*$1" "$T/log")" = "$2" ]; }
	await 20 all_failed "$1" "$2"
}
limit 'exceed the 8192 bytes' 4 --session-bytes 8K << 'PY'
for kind, connect in SENDERS.items():
    large = connect(os.environ["PORT"])
    large.open(1)
    large.pages(0x1000, page(1) + page(2))
    large.say(ADD_F, PRESENT, 1, 0x10000, 1 << 8 | 1)
    told(kind, large, os.environ["WORDS"])
PY
await 20 nothing_published
server_stop
limit 'more than the 4 pages allowed' 4 --session-pages 4 << 'PY' # contents, holes and page maps alike
for kind, connect in SENDERS.items():
    wordy = connect(os.environ["PORT"])
    wordy.open(1)
    wordy.pages(0x1000, page(1))
    wordy.hole(0x10000, 1, LAZY)
    beside = connect(os.environ["PORT"])
    beside.open(2)
    beside.pages(0x1000, page(2) * 3)
    wordy.hole(0x20000, 1 << 30, LAZY)
    told(kind, wordy, os.environ["WORDS"])
    assert beside.close() == 0
PY
no_wordy() { [ "$(ls "$IMAGES"/*/pagemap-*.img)" = "$(ls "$IMAGES"/*/pagemap-2.img)" ] && [ "$(ls "$IMAGES" | wc -l)" = 4 ]; }
await 20 no_wordy
rm -r "${IMAGES:?}"/*
server_stop
# On a slow machine it may be over before it has begun.
cat > "$T/patient.py" << 'PY'
from ps_sender import *
def begun(connect, *command):
    while True:
        try:
            s = connect(os.environ["PORT"])
            s.open(1)
            s.say(*command)
            return s
        except (ConnectionError, EOFError, Refused):
            pass
PY
server_start --idle-timeout 200ms
sender << 'PY'
import sys
sys.path.insert(0, os.environ["T"])
from patient import begun
silent = Sender(os.environ["PORT"])
for kind, connect in SENDERS.items(): # a gibibyte announced, never sent
    told(kind, begun(connect, ADD_F, PRESENT, 1 << 18, 0x10000, 1 << 8 | 1), "nothing came for 200 ms")
assert silent.dropped()
PY
await 20 nothing_published
await 20 grep -q 'session-failed .*nothing came for 200 ms' "$T/log"
server_stop
server_start --session-time 200ms
sender << 'PY'
import sys
sys.path.insert(0, os.environ["T"])
from patient import begun
for kind, connect in SENDERS.items():
    told(kind, begun(connect, ADD_F, LAZY, 1, 0x10000, 1 << 8 | 1), "longer than 200 ms")
PY
await 20 nothing_published
await 20 grep -q 'session-failed .*longer than 200 ms' "$T/log"
server_stop
