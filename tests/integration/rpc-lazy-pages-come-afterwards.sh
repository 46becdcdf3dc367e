#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lazy_pages over the RPC, in plain text and by TLS: a DUMP says status-ready, keeps its pages until a client has them all, and is answered then; a page
# server serves those of its images. A RESTORE runs before the pages of its images are there, which a lazy-pages daemon brings; without a daemon it fails
# and leaves nothing.
set -eu
# The port is nobody else's.
[ -n "${IN_NET:-}" ] || exec unshare --net env IN_NET=1 "$(cd "$(dirname "$0")" && pwd)/$(basename "$0")"
ip link set lo up
. "$(dirname "$0")/../lib/rpc.sh"
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
[ -r /usr/lib/python3/dist-packages/pycriu/__init__.py ] || { echo "needs pycriu (package criu)"; exit 77; }
export HERE=$here
LIB=$here/tests/lib
skip() { echo "$*"; exit 77; }
. "$LIB/tls.sh"
certs_make
service_start
client <<'EOF_CLIENT'
import subprocess
from rpc_subject import *


def service():
    return Client.service(T + "/rpc.sock")


def opts(name, **more):
    return {"images_dir_fd": directory(name), "log_file": "log", "log_level": 4, "lazy_pages": True, **more}


def fetch(port, images, pid, **env):
    return subprocess.Popen(["/usr/bin/python3", os.environ["HERE"] + "/tests/lib/lazy_client.py", str(port), images, str(pid), "24", "close"],
                            stdout=subprocess.PIPE, text=True, env={**os.environ, **env})


def fetched_all(client):
    pages, _ = client.communicate(timeout=TIMEOUT)
    check(client.returncode == 0 and int(pages) > 2000, "the client ended with %s, %s pages" % (client.returncode, pages))


certs = T + "/certs"
by_tls = {"tls": True, "tls_cacert": certs + "/ca.pem", "tls_cert": certs + "/host-a.pem", "tls_key": certs + "/host-a.key"}
for port, (connect, tls, env) in enumerate(((service, {}, {}), (Client.swrk, by_tls, {"CERTS": certs})), 9001):
    D = T + "/" + connect.__name__
    with Subject(D + "/subject") as s:
        fetched = []

        # A client that comes once it is told to, and compares what it is given with the frozen task's memory.
        def come(note):
            if note.script == "status-ready":
                fetched.append(fetch(port, D + "/1", s.pid, **env))
            return True

        with connect() as c:
            resp = c.ask(rpc.DUMP, opts(D + "/1", pid=s.pid, leave_running=True, notify_scripts=True, ps={"port": port}, **tls), on_notify=come)
            check(resp.success, resp.cr_errmsg)
        check(len(fetched) == 1, "told %d times" % len(fetched))
        fetched_all(fetched[0])
        s.is_right()

        with connect() as c:
            resp = c.ask(rpc.DUMP, opts(D + "/2", pid=s.pid, lazy_pages=False))
            check(resp.success, resp.cr_errmsg)
        s.is_gone()
        with connect() as c:
            resp = c.ask(rpc.RESTORE, opts(D + "/2"))
            check(not resp.success and "no lazy-pages daemon" in resp.cr_errmsg, "%s" % resp)
        await_(lambda: state_of(s.pid) is None, "nothing is left of a failed restore")

        with connect() as c:
            resp = c.ask(rpc.PAGE_SERVER_CHLD, opts(D + "/2", ps={"address": "127.0.0.1", "port": 0}, **tls), keep_open=True)
            check(resp.success, resp.cr_errmsg)
            fetched_all(fetch(resp.ps.port, D + "/2", s.pid, PAGES="stored", **env))
            resp = c.ask(rpc.WAIT_PID, pid=resp.ps.pid)
            check(resp.success and resp.status == 0, "the page server: %s" % resp)
        with connect() as c:
            resp = c.ask(rpc.PAGE_SERVER, opts(D + "/none"))
            check(not resp.success and "no pagemap-PID.img is there" in resp.cr_errmsg, "%s" % resp)

        daemon = subprocess.Popen([os.environ["DRAY"], "lazy-pages", "-D", D + "/2"], stdin=subprocess.DEVNULL)
        await_(lambda: os.path.exists(D + "/2/lazy-pages.socket"), "the daemon listens")
        with connect() as c:
            resp = c.ask(rpc.RESTORE, opts(D + "/2"))
            check(resp.success and resp.restore.pid == s.pid, "%s" % resp)
            s.is_right()
            check(daemon.wait(TIMEOUT) == 0, "the daemon ended with %s" % daemon.returncode)
            s.is_right()
            os.kill(s.pid, signal.SIGKILL)
EOF_CLIENT
