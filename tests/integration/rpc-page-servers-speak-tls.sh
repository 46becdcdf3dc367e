#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The option tls and its kin over the RPC: a page server takes a dump's pages by TLS, from a dump with the same options; it keeps out who has no
# certificate; files that are missing, and what TLS can't go with, are refused by name.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
LIB=$here/tests/lib
skip() { echo "$*"; exit 77; }
. "$LIB/tls.sh"
certs_make
service_start
client <<'EOF_CLIENT'
from rpc_subject import await_, state_of


def files(name):
    return {"tls": True, "tls_cacert": T + "/certs/ca.pem", "tls_cert": T + "/certs/%s.pem" % name, "tls_key": T + "/certs/%s.key" % name}


def options(name, **more):
    return {"images_dir_fd": directory(T + "/" + name), "log_file": "log", "log_level": 4, **more}


def wait(c, pid):
    resp = c.ask(rpc.WAIT_PID, pid=pid)
    check(resp.type == rpc.WAIT_PID and resp.success, "WAIT_PID")
    return resp.status


subject = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
await_(lambda: state_of(subject.pid) == "S", "it sleeps")
try:
    with Client.service(T + "/rpc.sock") as c:
        resp = c.ask(rpc.PAGE_SERVER_CHLD, options("server", ps={"address": "127.0.0.1", "port": 0}, **files("host-a")), keep_open=True)
        check(resp.success, resp.cr_errmsg)
        with Client.service(T + "/rpc.sock") as d:
            dump = d.ask(rpc.DUMP, options("dump", pid=subject.pid, leave_running=True, ps={"address": "127.0.0.1", "port": resp.ps.port}, **files("host-b")))
            check(dump.success, dump.cr_errmsg)
        check(wait(c, resp.ps.pid) == 0, "status")
        check(os.path.exists(T + "/server/pagemap-%d.img" % subject.pid), "not published")
    with Client.service(T + "/rpc.sock") as c:  # no certificate, no TLS
        resp = c.ask(rpc.PAGE_SERVER_CHLD, options("plain", **files("host-a")), keep_open=True)
        with Client.service(T + "/rpc.sock") as d:
            dump = d.ask(rpc.DUMP, options("no", pid=subject.pid, leave_running=True, ps={"address": "127.0.0.1", "port": resp.ps.port}))
            check(not dump.success and "TLS" in dump.cr_errmsg, dump.cr_errmsg)
        check(wait(c, resp.ps.pid) != 0, "plain text was let in")
        check(not [n for n in os.listdir(T + "/plain") if n.endswith(".img")], "published")
    with Client.service(T + "/rpc.sock") as c:
        resp = c.ask(rpc.PAGE_SERVER, options("missing", **{**files("host-a"), "tls_key": "/nonexistent/key"}))
        check(not resp.success and "/nonexistent/key" in resp.cr_errmsg, resp.cr_errmsg)
    ours, theirs = socket.socketpair()
    for call in rpc.DUMP, rpc.PRE_DUMP, rpc.PAGE_SERVER, rpc.PAGE_SERVER_CHLD:
        with Client.swrk(pass_fds=[theirs.fileno()]) as c:
            resp = c.ask(call, options("fd%d" % call, pid=subject.pid, ps={"fd": theirs.fileno()}, **files("host-a")))
            check(not resp.success and "tls and ps.fd" in resp.cr_errmsg, resp.cr_errmsg)
    check(subject.poll() is None, "the process did not run on")
finally:
    subject.kill()
    subject.wait()
EOF_CLIENT
