#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Clients of the metrics that send garbage, nothing, too much, or do not read: others are answered all the while, sessions go on, and the exporter
# is the process that it was.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --metrics 127.0.0.1:0
export METRICS
METRICS=$(metrics_address)
sender << 'PY'
import random
from prometheus import answer, connect, get, metrics
where = os.environ["METRICS"]
server = os.environ["SERVER"]
children = lambda: open("/proc/%s/task/%s/children" % (server, server)).read().split()
assert metrics(where)  # whoever answers is the one that is looked for
watcher, = children()
exporter = open("/proc/%s/task/%s/children" % (watcher, watcher)).read().strip()
for field in open("/proc/%s/status" % exporter).read().split("\n"):
    if field.startswith("CapEff"):
        assert int(field.split()[1], 16) == 0, field
sent = Sender(os.environ["PORT"])
sent.open(1)


def status(request):
    s = connect(where)
    s.sendall(request)
    return int(answer(s)[0].split(" ")[1])


assert status(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n") == 404
assert status(b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n") == 405
assert status(b"GET /metrics HTTP/1.1\r\n\r\n") == 400
assert status(b"GET /metrics HTTP/1.0\r\n\r\n") == 200
assert status(b"GET /metrics?x=1 HTTP/1.1\r\nhOsT: x\r\n\r\n") == 200
assert status(b"GET /metrics HTTP/2.0\r\nHost: x\r\n\r\n") == 505
assert status(b"\x16\x03\x01\x02\x00") == 400
assert status(b"GET /metrics HTTP/1.1\r\nX: " + 5000 * b"a") == 431
line, fields, body = get(where, method="HEAD")
assert line.endswith("200 OK") and body == "" and int(fields["content-length"]) > 1000
whole = connect(where)
for byte in b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n":
    whole.sendall(bytes([byte]))
assert answer(whole)[0].endswith("200 OK")

random.seed(7)
silent = []
for n in range(100):
    s = connect(where)
    try:
        s.sendall(random.randbytes(random.randrange(1, 6000)))
    except ConnectionError:
        pass
    if n % 2:
        s.close()
    else:
        silent.append(s)
for n in range(40): # more than it holds at once: the oldest make room
    s = connect(where)
    s.sendall(b"GET /met")
    silent.append(s)
for n in range(40): # ask and do not read
    s = connect(where)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    silent.append(s)
    assert metrics(where)["dray_page_server_sessions_running"] == 1
sent.pages(0x1000, page(1))
assert sent.close() == 0
assert open("/proc/%s/comm" % exporter).read() == "dray-exporter\n", "another exporter"
assert metrics(where)["dray_page_server_pages_total"] == 1
PY
server_stop
