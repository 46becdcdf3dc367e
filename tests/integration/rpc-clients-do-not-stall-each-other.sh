#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A thousand clients at once are served, while others say nothing, don't read, stand in the middle of something, or send what is no request; the
# service is none the worse for them. What one leaves behind is gone when it goes. One user other than root gets half of the room.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
ulimit -n 8192 2> /dev/null || ulimit -n "$(ulimit -Hn)"
service_start --max-clients 3000 --rpc-mode 0666
chmod 755 "$T"
client "$service" <<'EOF_CLIENT'
import resource, subprocess
service = int(sys.argv[1])
clients = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 50)
path = T + "/rpc.sock"


def version(c, **fields):
    resp = c.ask(rpc.VERSION, **fields)
    check(resp.type == rpc.VERSION and resp.success, "VERSION")


def children():
    with open("/proc/%d/task/%d/children" % (service, service)) as f:
        return len(f.read().split())


def open_files():
    return len(os.listdir("/proc/%d/fd" % service))


with Client.service(path) as c:
    version(c)
before = open_files()

silent = [Client.service(path) for _ in range(50)]
deaf = Client.service(path)  # asks and asks and does not read
deaf.sock.setblocking(False)
asked = 0
try:
    while True:
        deaf.send(rpc.VERSION, keep_open=True)
        asked += 1
except BlockingIOError:
    pass
busy = []
for _ in range(8):  # in workers, where they stay
    c = Client.service(path)
    check(c.ask(rpc.CPUINFO_DUMP, {"images_dir_fd": directory(T + "/images")}, keep_open=True).success, "CPUINFO_DUMP")
    busy.append(c)
check(children() == len(busy), "%d workers" % children())
for _ in range(20):
    c = Client.service(path)
    c.send_raw(os.urandom(200))
    c.close()

crowd = [Client.service(path) for _ in range(clients)]
for _ in range(3):
    for c in crowd:
        c.send(rpc.VERSION, keep_open=True)
    for c in crowd:
        check(c.receive().type == rpc.VERSION, "not answered in the crowd")
for c in crowd:  # each in a process of its own, all there at once
    c.send(rpc.CPUINFO_CHECK, {"images_dir_fd": -1, "images_dir": T + "/images", "log_to_stderr": True})
for c in crowd:
    resp = c.receive()
    check(resp.type == rpc.CPUINFO_CHECK and resp.success, resp.cr_errmsg)
for c in crowd:
    check(c.is_closed(), "not closed")
    c.close()

deaf.sock.settimeout(TIMEOUT)
for _ in range(asked):  # nothing of it was lost
    check(deaf.receive().type == rpc.VERSION, "an answer that had to wait")
for c in busy:
    check(c.ask(rpc.CPUINFO_CHECK, {"images_dir_fd": -1, "images_dir": T + "/images"}).success, "one that stood by")
for c in [deaf, *silent, *busy]:
    c.close()

other = """
import sys
from rpc_client import *
held = []
try:
    while len(held) < 2000:
        c = Client.service(sys.argv[1])
        c.ask(rpc.VERSION, keep_open=True)
        held.append(c)
except (Gone, OSError):
    pass
print(len(held), flush=True)
sys.stdin.read()
"""
as_nobody = subprocess.Popen(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", other, path],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
held = int(as_nobody.stdout.readline())
limited = resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2000
check(held == 1500 or limited, "nobody holds %d connections" % held)
with Client.service(path) as c:
    version(c)
as_nobody.communicate()
while open_files() > before or children() > 0:
    with Client.service(path) as c:  # a turn of its loop
        version(c)
EOF_CLIENT
