#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# PAGE_SERVER and PAGE_SERVER_CHLD: answered once they listen, with their real pid and port; they take pages, publish them, and end; WAIT_PID says
# how. They hold nothing that the client waits for, and what can't be served is refused in words.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
service_start
client <<'EOF_CLIENT'
import page_sender, select, signal
PAGES = bytes(range(256)) * 16 * 3
try:
    socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    other = "::1"
except OSError:  # no IPv6 here
    other = "127.0.0.2"


def options(name, **more):
    return {"images_dir_fd": directory(T + "/" + name), "log_file": "ps.log", "log_level": 4, **more}


def started(resp):
    check(resp.type == rpc.PAGE_SERVER and resp.success, resp.cr_errmsg)
    check(resp.ps.pid > 1, "no pid")
    return resp.ps.pid


def feed(resp, address="127.0.0.1", parent=False):
    with socket.create_connection((address, resp.ps.port)) as s:
        check(page_sender.send(s, 41, 0x10000, PAGES) == parent, "parent")


def published(name):
    return os.path.exists(T + "/%s/pagemap-41.img" % name) and os.path.getsize(T + "/%s/pages-65537.img" % name) == len(PAGES)


def wait(c, pid):
    resp = c.ask(rpc.WAIT_PID, pid=pid)
    check(resp.type == rpc.WAIT_PID and resp.success, "WAIT_PID")
    check(c.is_closed(), "still open behind WAIT_PID")
    return resp.status


def ended(pid):
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    check(select.select([fd], [], [], TIMEOUT)[0], "still there")
    os.close(fd)


for connect in (lambda: Client.service(T + "/rpc.sock"), Client.swrk):
    kind = "swrk" if connect == Client.swrk else "service"
    first, second = kind + "-first", kind + "-second"

    with connect() as c:  # a child, and how it ended
        resp = c.ask(rpc.PAGE_SERVER_CHLD, options(first), keep_open=True)
        pid = started(resp)
        feed(resp)
        check(wait(c, pid) == 0, "status")
        check(published(first), "not published")
        check(c.notes == [], "notifications that nobody asked for")
    with connect() as c:  # with a parent; one that fails: its sender goes away in the middle
        resp = c.ask(rpc.PAGE_SERVER_CHLD, options(second, parent_img="../" + first), keep_open=True)
        feed(resp, parent=True)
        check(wait(c, started(resp)) == 0, "status")
        check(os.readlink(T + "/" + second + "/parent") == "../" + first, "no link to the parent")
    with connect() as c:
        resp = c.ask(rpc.PAGE_SERVER_CHLD, options(kind + "-cut"), keep_open=True)
        pid = started(resp)
        socket.create_connection(("127.0.0.1", resp.ps.port)).close()
        check(wait(c, pid) != 0, "a session without an end counts as done")
    for begun in (False, True):  # one that is told to end, while nobody and while somebody sends
        with connect() as c:
            resp = c.ask(rpc.PAGE_SERVER_CHLD, options(kind + "-told"), keep_open=True)
            pid = started(resp)
            s = socket.create_connection(("127.0.0.1", resp.ps.port)) if begun else None
            if begun:
                s.sendall(page_sender.command(page_sender.OPEN2, 0, 0, 41) + page_sender.command(page_sender.ADD_F | 4 << 16, 2, 0x10000, 41) + bytes(4096))
                check(s.recv(1) == b"\0", "OPEN2")
            os.kill(pid, signal.SIGTERM)
            check(wait(c, pid) != 0, "status")
            left = [n for n in os.listdir(T + "/" + kind + "-told") if n != "ps.log"]
            check(left == [], "it left %s" % left)
    with connect() as c:  # by itself; the connection ends without it
        resp = c.ask(rpc.PAGE_SERVER, options(kind + "-daemon", ps={"address": "127.0.0.1", "port": 0}))
        pid = started(resp)
        check(c.is_closed(), "not closed while the page server runs")
        feed(resp)
        ended(pid)
        check(published(kind + "-daemon"), "not published")
    with connect() as c:  # several on one connection, and one that can't
        resp = c.ask(rpc.PAGE_SERVER, options(kind + "-bad", ps={"address": "localhost"}), keep_open=True)
        check(resp.type == rpc.PAGE_SERVER and not resp.success and "localhost" in resp.cr_errmsg, "a name as address")
        check(not resp.HasField("ps"), "ps in a failure")
        resp = c.ask(rpc.PAGE_SERVER, {"images_dir_fd": 999}, keep_open=True)
        check(not resp.success and "999" in resp.cr_errmsg, "no such descriptor")
        resp = c.ask(rpc.PAGE_SERVER_CHLD, options(kind + "-other", ps={"address": other}), keep_open=True)
        check(resp.success and not resp.HasField("cr_errmsg"), "the text of an earlier failure")
        feed(resp, other)
        check(wait(c, started(resp)) == 0, "status")
    with connect() as c:  # ready is said before the answer, and a refusal ends it
        resp = c.ask(rpc.PAGE_SERVER_CHLD, options(kind + "-ready", notify_scripts=True), keep_open=True)
        check(c.notes == [("status-ready", 0)], "status-ready")
        feed(resp)
        check(wait(c, resp.ps.pid) == 0, "status")
    with connect() as c:
        resp = c.ask(rpc.PAGE_SERVER_CHLD, options(kind + "-refused", notify_scripts=True), on_notify=lambda n: False)
        check(resp.type == rpc.PAGE_SERVER and not resp.success and "status-ready" in resp.cr_errmsg, "refused")
    with connect() as c:  # after the answer, of one by itself
        resp = c.ask(rpc.PAGE_SERVER, options(kind + "-after", notify_scripts=True))
        pid = started(resp)
        check(c.receive().notify.script == "status-ready", "status-ready")
        c.ack(False)
        check(c.is_closed(), "not closed")
        ended(pid)

# A connected socket that is inherited: only swrk can have it.
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
with Client.service(T + "/rpc.sock") as c:
    resp = c.ask(rpc.PAGE_SERVER_CHLD, options("fd", ps={"fd": theirs.fileno()}))
    check(not resp.success and "ps.fd" in resp.cr_errmsg, "ps.fd in a service")
with Client.swrk(pass_fds=[theirs.fileno()]) as c:
    resp = c.ask(rpc.PAGE_SERVER_CHLD, options("fd", ps={"fd": theirs.fileno()}))
    check(resp.success and resp.ps.port == 0, resp.cr_errmsg)
    theirs.close()
    check(c.is_closed() and c.exit_status() == 0, "swrk did not end")
    page_sender.send(ours, 41, 0x10000, PAGES, last=page_sender.FORCE_CLOSE)
    check(ours.recv(1) == b"", "the page server holds the socket")
    check(published("fd"), "not published")
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
with Client.swrk(pass_fds=[theirs.fileno()]) as c:  # told to end: nothing stays, and the socket is as it was
    resp = c.ask(rpc.PAGE_SERVER_CHLD, options("fd-told", ps={"fd": theirs.fileno()}), keep_open=True)
    ours.sendall(page_sender.command(page_sender.OPEN2, 0, 0, 41))
    check(ours.recv(1) == b"\0", "OPEN2")
    os.kill(started(resp), signal.SIGTERM)
    check(wait(c, resp.ps.pid) == 1 << 8, "status")
    check(os.listdir(T + "/fd-told") == ["ps.log"], "it left %s" % os.listdir(T + "/fd-told"))
    theirs.sendall(b"it")
    check(ours.recv(2) == b"it", "the socket was cut")
EOF_CLIENT
