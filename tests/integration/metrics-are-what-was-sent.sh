#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the page server's metrics say is what senders sent: pages, bytes, holes, questions; sessions that were published, that broke off, that a limit
# ended, that were refused, and one that was killed. The page is valid Prometheus text throughout.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --metrics "unix:$T/m" --chain --max-sessions 2 --session-bytes 64K
sender << 'PY'
import signal
import time
from prometheus import await_metric, metrics
where = "unix:" + os.environ["T"] + "/m"
ps = "dray_page_server_"


at_first = metrics(where)
assert [k for k, v in at_first.items() if v and not k.startswith("dray_start")] == [], at_first

# the set before, then one on top of it
a = Sender(os.environ["PORT"], 24)
assert a.parent(7) == 0 and a.open(7) == 0
a.pages(0x1000, page(1) + page(2) + page(3))
await_metric(where, ps + "pages_total", 3) # while it runs
m = metrics(where)
assert m[ps + "sessions_running"] == 1 and m[ps + "sessions_accepted_total"] == 1, m
assert m[ps + "received_bytes_total"] == 3 * 24 + 3 * PAGE, m
assert a.close() == 0
await_metric(where, ps + 'sessions_ended_total{outcome="success"}', 1)
b = Sender(os.environ["PORT"])
assert b.parent(7) == 1 and b.open(7) == 1
b.hole(0x1000, 2)
b.pages(0x3000, page(9))
assert b.close() == 0
await_metric(where, ps + 'sessions_ended_total{outcome="success"}', 2)
m = metrics(where)
for name, value in (("sessions_accepted_total", 2), ("sessions_running", 0), ("page_maps_total", 2), ("ranges_total", 3), ("pages_total", 4),
                    ("page_bytes_total", 4 * PAGE), ("hole_pages_total", 2), ("received_bytes_total", 4 * 24 + 5 * 32 + 4 * PAGE),
                    ("question_seconds_count", 4)):
    assert m[ps + name] == value, (name, value, m[ps + name])
assert m[ps + "question_seconds_sum"] >= 0

# broken off, ended by a limit, refused, killed
c = Sender(os.environ["PORT"])
c.open(8)
c.pages(0x1000, page(1))
c.s.close()
await_metric(where, ps + 'sessions_ended_total{outcome="peer"}', 1)
d = Sender(os.environ["PORT"])
d.open(8)
d.say(ADD_F, PRESENT, 17, 0x1000, d.dst)
assert d.dropped()
await_metric(where, ps + 'sessions_ended_total{outcome="limit"}', 1)
assert metrics(where)['dray_limits_hit_total{limit="session-bytes"}'] == 1
e, f = Sender(os.environ["PORT"]), Sender(os.environ["PORT"])
e.open(9), f.open(9)
g = Sender(os.environ["PORT"])
assert g.dropped()
await_metric(where, ps + 'sessions_refused_total{kind="limit"}', 1)
assert metrics(where)['dray_limits_hit_total{limit="max-sessions"}'] == 1
e.pages(0x1000, page(5))
await_metric(where, ps + "pages_total", 6)
server = os.environ["SERVER"]
for pid in open("/proc/%s/task/%s/children" % (server, server)).read().split():
    if open("/proc/%s/comm" % pid).read() != "dray-metrics\n":
        os.kill(int(pid), signal.SIGKILL)
await_metric(where, ps + 'sessions_ended_total{outcome="killed"}', 2)
m = metrics(where)
assert m[ps + "pages_total"] == 6 and m[ps + "sessions_running"] == 0, m # what it had counted stays
ended = sum(v for k, v in m.items() if k.startswith(ps + "sessions_ended_total"))
assert ended == m[ps + "sessions_accepted_total"] == 6, m
assert all(m[k] >= v for k, v in at_first.items()), "a counter went back"
PY
watcher=$(for p in $(cat "/proc/$server/task/$server/children"); do ! grep -qsx dray-metrics "/proc/$p/comm" || echo "$p"; done)
[ -n "$watcher" ] || fail "nobody watches the exporter"
read -r exporter < "/proc/$watcher/task/$watcher/children"
server_stop
[ ! -e "$T/m" ] || fail "the socket stays behind"
await 20 test ! -e "/proc/$exporter"
await 20 test ! -e "/proc/$watcher"

# what ends a session that dawdles
for limit in idle-timeout session-time; do
	server_start --metrics "unix:$T/m" "--$limit" 300ms
	export limit
	sender << 'PY'
from prometheus import metrics
where = "unix:" + os.environ["T"] + "/m"
a = Sender(os.environ["PORT"]) # says nothing
assert a.dropped()
assert metrics(where)['dray_limits_hit_total{limit="%s"}' % os.environ["limit"]] == 1
PY
	server_stop
done
