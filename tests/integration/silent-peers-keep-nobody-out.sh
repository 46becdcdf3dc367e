#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Who connects to the page server and says nothing is dropped in a time of its own, and only so many of them are held at once, the oldest making room: they use up neither
# processes nor directories, and keep nobody out. Both are named in the log and counted; who has said something is as patient a session as ever.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --metrics "unix:$T/m" --max-handshakes 3 --handshake-timeout 0 --idle-timeout 0
sender << 'PY'
import time
from prometheus import await_metric, metrics
where = "unix:" + os.environ["T"] + "/m"
ps = "dray_page_server_"


for _ in range(2): # the number of one who goes is the next one's
    gone = Sender(os.environ["PORT"])
    await_metric(where, ps + "sessions_running", 1)
    gone.s.close()
    await_metric(where, ps + "sessions_running", 0)
silent = [Sender(os.environ["PORT"]) for _ in range(3)]
await_metric(where, ps + "sessions_running", 3)
other = Sender(os.environ["PORT"]) # the oldest makes room
assert silent[0].dropped()
await_metric(where, 'dray_limits_hit_total{limit="max-handshakes"}', 1)
await_metric(where, ps + 'sessions_ended_total{outcome="limit"}', 1)
await_metric(where, ps + "sessions_running", 3)
silent[1].open(7)
other.open(8)
late = [Sender(os.environ["PORT"]) for _ in range(2)] # there are places again
await_metric(where, ps + "sessions_running", 5)
silent[2].s.close() # a place for each that goes, too
await_metric(where, ps + "sessions_running", 4)
last = Sender(os.environ["PORT"])
await_metric(where, ps + "sessions_running", 5)
assert metrics(where)['dray_limits_hit_total{limit="max-handshakes"}'] == 1
another = Sender(os.environ["PORT"])
assert late[0].dropped()
last.open(9)
for s in (silent[1], other, last):
    s.pages(0x1000, page(1))
    assert s.close() == 0
PY
await 20 grep -q 'session-dropped session=1 .*(--max-handshakes)' "$T/log"
server_stop
rm -r "$IMAGES"
mkdir "$IMAGES"

server_start --metrics "unix:$T/m2" --handshake-timeout 300ms --idle-timeout 0
sender << 'PY'
from prometheus import metrics
where = "unix:" + os.environ["T"] + "/m2"
while True: # on a slow machine it may be late itself
    try:
        good = Sender(os.environ["PORT"])
        good.open(7)
        break
    except (ConnectionError, EOFError):
        pass
before = metrics(where)['dray_limits_hit_total{limit="handshake-timeout"}']
assert Sender(os.environ["PORT"]).dropped()
few = Sender(os.environ["PORT"])
few.s.sendall(b"\4\0\0")
assert few.dropped()
assert metrics(where)['dray_limits_hit_total{limit="handshake-timeout"}'] == before + 2
good.pages(0x1000, page(1)) # has been silent for longer by now
assert good.close() == 0
PY
await 20 grep -q 'session-failed .*asked for nothing within 300 ms (--handshake-timeout)' "$T/log"
alone() { [ "$(ls "$IMAGES" | wc -l)" = 1 ]; }
await 20 alone
server_stop

# While no other session may run, one more connection of a session may come: who is none is waited for for five seconds, whatever the option says.
server_start --max-sessions 1 --handshake-timeout 1h --idle-timeout 0
sender << 'PY'
s = Native(os.environ["PORT"], numbered=True)
s.open(7)
assert Sender(os.environ["PORT"]).dropped()
s.pages(0x1000, page(1))
assert s.close() == 0
PY
server_stop
