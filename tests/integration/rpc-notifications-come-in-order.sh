#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Notifications come in the order of the contract, each once, and only when they are asked for. A client that refuses, goes away or hangs at one of
# them leaves the tree running where it still can be, and is ignored where nothing can be stopped any more.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
service_start
client <<'EOF_CLIENT'
from rpc_subject import *

DUMP = ["pre-dump", "query-ext-files", "post-dump"]
RESTORE = ["pre-restore", "post-restore", "pre-resume", "post-resume"]
IGNORED = ["pre-resume", "post-resume"]


def opts(name, **more):
    return {"images_dir_fd": directory(name), "log_file": "log", "log_level": 4, "notify_scripts": True, **more}


def service():
    return Client.service(T + "/rpc.sock")


def swrk():
    return Client.swrk()


def impatient():
    return Client.swrk("--ack-timeout", "5s")


def refuse(at):
    return lambda n: n.script != at


def until(c, type_, o, at):
    """Acknowledges all before `at`, which is left open."""
    c.send(type_, o)
    while True:
        resp = c.receive()
        check(resp.type == rpc.NOTIFY, "no %s: %s" % (at, resp))
        if resp.notify.script == at:
            return
        c.ack()


for connect in (service, swrk):
    D = T + "/" + connect.__name__

    with Subject(D + "/subject") as s:
        frozen = []

        def look(n):
            frozen.append((n.script, state_of(s.pid)))
            return True

        with connect() as c:  # none for rounds
            check(c.ask(rpc.PRE_DUMP, opts(D + "/0", pid=s.pid)).success and c.notes == [], "notifications of a PRE_DUMP")
            resp = c.ask(rpc.DUMP, opts(D + "/1", pid=s.pid, leave_running=True), on_notify=look)
            check(resp.success, resp.cr_errmsg)
            check([n for n, pid in c.notes] == DUMP and all(pid == 0 for _, pid in c.notes), "a dump: %s" % c.notes)
            check(dict(frozen)["pre-dump"] in "RSD", "stopped before pre-dump: %s" % frozen)
            check(dict(frozen)["query-ext-files"] not in "RS" and dict(frozen)["post-dump"] not in "RS", "runs while it is dumped: %s" % frozen)
        s.goes_on()

        for at in DUMP:  # refused, silent, gone: it runs on, though it was to be killed
            with connect() as c:
                resp = c.ask(rpc.DUMP, opts(D + "/no", pid=s.pid), on_notify=refuse(at))
                check(resp.type == rpc.DUMP and not resp.success and at in resp.cr_errmsg, "refused at %s: %s" % (at, resp))
                check([n for n, _ in c.notes] == DUMP[:DUMP.index(at) + 1], "sent behind a refusal: %s" % c.notes)
                check(c.is_closed(), "not closed")
            s.goes_on()
            with impatient() as c:
                until(c, rpc.DUMP, opts(D + "/mute", pid=s.pid), at)
                resp = c.receive()
                check(resp.type == rpc.DUMP and not resp.success and at in resp.cr_errmsg, "silent at %s: %s" % (at, resp))
            s.goes_on()
            with connect() as c:
                until(c, rpc.DUMP, opts(D + "/gone", pid=s.pid), at)
            s.goes_on()
            with connect() as c:
                until(c, rpc.DUMP, opts(D + "/other", pid=s.pid), at)
                c.send(rpc.VERSION)
                check(not c.receive().success, "anything is an acknowledgement")
            s.goes_on()
        with connect() as c:  # an acknowledgement may bring options; here one that is not supported
            until(c, rpc.DUMP, opts(D + "/external", pid=s.pid), "query-ext-files")
            c.ack(opts={"images_dir_fd": -1, "external": ["file[1:2]"]})
            resp = c.receive()
            check(not resp.success and "external" in resp.cr_errmsg, "external in an acknowledgement: %s" % resp)
        s.is_right()

        with connect() as c:
            check(c.ask(rpc.DUMP, opts(D + "/last", pid=s.pid, track_mem=False)).success, "the dump")
        s.is_gone()

        for at in RESTORE:
            if at in IGNORED:
                continue
            with connect() as c:
                resp = c.ask(rpc.RESTORE, opts(D + "/last"), on_notify=refuse(at))
                check(resp.type == rpc.RESTORE and not resp.success and at in resp.cr_errmsg, "refused at %s: %s" % (at, resp))
                check(resp.restore.pid == (s.pid if at == "post-restore" else -1), "pid: %s" % resp)
            await_(lambda: state_of(s.pid) is None, "what was restored is ended")
            with connect() as c:
                until(c, rpc.RESTORE, opts(D + "/last"), at)
            await_(lambda: state_of(s.pid) is None, "what was restored is ended, its client being gone at " + at)
        with connect() as c:  # too late to stop it
            resp = c.ask(rpc.RESTORE, opts(D + "/last"), on_notify=lambda n: n.script not in IGNORED)
            check(resp.success, resp.cr_errmsg)
            check(c.notes == [(n, s.pid if n == "post-restore" else 0) for n in RESTORE], "a restore: %s" % c.notes)
        s.is_right()
EOF_CLIENT
