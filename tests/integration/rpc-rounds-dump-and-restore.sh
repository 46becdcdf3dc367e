#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# PRE_DUMP rounds and the DUMP on one connection, each into a directory of its own on top of the one before; SINGLE_PRE_DUMP likewise over
# connections that share nothing; RESTORE brings back what was dumped. Final states are those asked for.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
service_start
client <<'EOF_CLIENT'
from rpc_subject import *


def ok(resp, type_):
    check(resp.type == type_ and resp.success, "%s: %s" % (type_, resp.cr_errmsg))
    check(not resp.HasField("cr_errmsg") and not resp.HasField("cr_errno"), "an error in a success")
    return resp


def opts(pid, name, parent=None, **more):
    o = {"images_dir_fd": directory(name), "pid": pid, "log_file": "log", "log_level": 4, **more}
    if parent:
        o["parent_img"] = "../" + parent
    return o


def restore(connect, path, **more):
    with connect() as c:
        resp = ok(c.ask(rpc.RESTORE, {"images_dir_fd": directory(path), "log_file": "restore.log", "log_level": 4, **more}), rpc.RESTORE)
        check(c.is_closed(), "not closed")
        return resp.restore.pid


for connect in (lambda: Client.service(T + "/rpc.sock"), Client.swrk):
    D = T + "/" + ("swrk" if connect == Client.swrk else "service")

    # all on one connection; it writes little, so that a round is small however long it lasts
    with Subject(D + "/subject", rate="0.05") as s, connect() as c:
        ok(c.ask(rpc.PRE_DUMP, opts(s.pid, D + "/0")), rpc.PRE_DUMP)
        check(os.path.exists(D + "/0/stats-dump"), "no stats-dump when PRE_DUMP is answered")
        s.goes_on()
        work = D + "/work"
        ok(c.ask(rpc.PRE_DUMP, opts(s.pid, D + "/1", "0", track_mem=True, work_dir_fd=directory(work))), rpc.PRE_DUMP)
        check(images(work) == ["log", "stats-dump"], "in the work directory: %s" % images(work))
        check(not has_image(D + "/1", "log|stats-dump"), "in the images directory in spite of a work directory")
        s.goes_on()
        ok(c.ask(rpc.DUMP, opts(s.pid, D + "/2", "1", track_mem=True)), rpc.DUMP)
        check(c.is_closed(), "not closed behind DUMP")
        check(c.notes == [], "notifications that nobody asked for")
        s.is_gone()
        check(os.readlink(D + "/2/parent") == "../1", "no parent link")
        check(os.path.getsize(D + "/2/pages-1.img") < os.path.getsize(D + "/0/pages-1.img") / 2, "the last round has all pages again")
        check(restore(connect, D + "/2") == s.pid, "restored as another")
        s.is_right()

    # over connections that share nothing; the tree runs on, then stays stopped
    with Subject(D + "/subject") as s:
        for last, parent in (("s0", None), ("s1", "s0")):
            with connect() as c:
                ok(c.ask(rpc.SINGLE_PRE_DUMP, opts(s.pid, D + "/" + last, parent, track_mem=True)), rpc.SINGLE_PRE_DUMP)
                check(c.is_closed(), "not closed behind SINGLE_PRE_DUMP")
            s.goes_on()
        with connect() as c:
            ok(c.ask(rpc.DUMP, opts(s.pid, D + "/s2", "s1", track_mem=True, leave_running=True)), rpc.DUMP)
        s.is_right()
        with connect() as c:
            ok(c.ask(rpc.DUMP, opts(s.pid, D + "/stopped", leave_stopped=True, leave_running=True)), rpc.DUMP)
        check(state_of(s.pid) == "T", "not stopped: %s" % state_of(s.pid))
        os.kill(s.pid, signal.SIGCONT)
        s.is_right()
        with connect() as c:
            ok(c.ask(rpc.DUMP, opts(s.pid, D + "/s3")), rpc.DUMP)
        s.is_gone()
        check(restore(connect, D + "/s3") == s.pid, "restored as another")
        s.is_right()

    # what can't be
    with connect() as c:
        resp = c.ask(rpc.DUMP, opts(2 ** 22 - 1, D + "/none"))
        check(not resp.success and resp.cr_errno == 3 and resp.HasField("dump") and not resp.dump.restored, "no such process: %s" % resp)
        check(not c.process or c.exit_status() == 1, "exit status")
    with Subject(D + "/subject") as s:
        with connect() as c:
            ok(c.ask(rpc.DUMP, opts(s.pid, D + "/taken", leave_running=True)), rpc.DUMP)
        with connect() as c:
            resp = c.ask(rpc.RESTORE, {"images_dir_fd": directory(D + "/taken")})
            check(not resp.success and resp.cr_errno == 17 and resp.restore.pid == -1, "a PID that is taken: %s" % resp)
            check(os.path.exists(D + "/taken/criu.log"), "no log by its default name")
            check(not c.process or c.exit_status() == 1, "exit status")
        for bad, text in (({"images_dir_fd": 999}, "images_dir_fd"), ({"external": ["tty[1]"]}, "external"), ({"log_file": "a/b"}, "log_file"),
                          ({"parent_img": "../nowhere"}, "the parent directory"), ({"images_dir_fd": -1}, "images")):
            with connect() as c:
                resp = c.ask(rpc.DUMP, {**opts(s.pid, D + "/bad"), **bad})
                check(not resp.success and resp.cr_errno == 56 and text in resp.cr_errmsg, "%s: %s" % (bad, resp))
        s.is_right()
        with connect() as c:  # a round that fails ends the connection, the tree runs on
            ok(c.ask(rpc.PRE_DUMP, opts(s.pid, D + "/loop")), rpc.PRE_DUMP)
            resp = c.ask(rpc.PRE_DUMP, opts(s.pid, D + "/loop2", "nowhere"))
            check(resp.type == rpc.PRE_DUMP and not resp.success, "a parent that is not there")
            check(c.is_closed(), "not closed behind a failure")
        with connect() as c:  # so does a request out of sequence
            ok(c.ask(rpc.PRE_DUMP, opts(s.pid, D + "/sequence")), rpc.PRE_DUMP)
            resp = c.ask(rpc.VERSION)
            check(resp.type == rpc.EMPTY and not resp.success and c.is_closed(), "out of sequence")
        s.is_right()
EOF_CLIENT
