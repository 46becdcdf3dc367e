#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An exporter that is killed is followed by another one with the same counters, while a session goes on; a server for one session counts how that ended,
# before it ends.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --metrics "unix:$T/m"
sender << 'PY'
import signal
import time
from prometheus import metrics
where = "unix:" + os.environ["T"] + "/m"
watcher = open("/proc/%s/task/%s/children" % (2 * (os.environ["SERVER"],))).read().split()[0]


def exporter():
    return open("/proc/%s/task/%s/children" % (watcher, watcher)).read().strip()


a = Sender(os.environ["PORT"])
a.open(1)
a.pages(0x1000, page(1))
assert metrics(where)  # there is one
for n in range(2):
    first, end = exporter(), time.monotonic() + 60
    os.kill(int(first), signal.SIGKILL)
    while exporter() in ("", first):
        assert time.monotonic() < end, "no other exporter"
        time.sleep(0.02)
    assert metrics(where)["dray_page_server_sessions_running"] == 1
assert a.close() == 0
assert metrics(where)["dray_page_server_pages_total"] == 1
PY
[ "$(grep -c 'exporter-died signal=9' "$T/log")" = 2 ] || fail "the log does not say so"
server_stop
echo "ok: another exporter"

is_stopped() { [ "$(awk '/^State:/ { print $2 }' "/proc/$server/status")" = T ]; }
once() { # outcome code
	await 20 is_stopped
	T=$T OUTCOME=$1 PYTHONPATH="$root/tests/lib" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -c 'if True:
		import os
		from prometheus import metrics
		m = metrics("unix:" + os.environ["T"] + "/m")
		ended = {k: v for k, v in m.items() if k.startswith("dray_page_server_sessions_ended") and v}
		assert ended == {"dray_page_server_sessions_ended_total{outcome=\"%s\"}" % os.environ["OUTCOME"]: 1}, ended
		assert m["dray_page_server_sessions_accepted_total"] == 1 and m["dray_page_server_sessions_running"] == 0, m' || fail "$1"
	kill -CONT "$server"
	rc=0; wait "$server" || rc=$?
	server=
	[ "$rc" = "$2" ] || fail "it ended with $rc"
	[ ! -e "$T/m" ] || fail "the socket stays behind"
	echo "ok: --once counts $1"
}
export DRAY_FAULT=page-server.ended:stop
server_start --once --metrics "unix:$T/m"
sender << 'PY'
a = Sender(os.environ["PORT"])
a.open(2)
a.pages(0x1000, page(1))
assert a.close() == 0
PY
once success 0
server_start --once --metrics "unix:$T/m"
sender << 'PY'
a = Sender(os.environ["PORT"])
a.open(3)
a.s.close()
PY
once peer 6
