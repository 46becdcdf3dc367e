#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Options of the RPC that work, work: pages to a page server and to a lazy-pages listener, a sibling of the server's as restored root, a command
# behind the restore, inherited descriptors, cpuinfo, a configuration file over the request with its action script. Those for swrk are refused by a service.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
service_start
client <<'EOF_CLIENT'
import subprocess
from rpc_subject import *


def service():
    return Client.service(T + "/rpc.sock")


def ask(connect, type_, name, **opts):
    with connect() as c:
        return c.ask(type_, {"images_dir_fd": directory(name), "log_file": "log", "log_level": 4, **opts})


def ok(resp):
    check(resp.success, resp.cr_errmsg)
    return resp


for connect in (service, Client.swrk):
    D = T + "/" + connect.__name__
    with Subject(D + "/subject") as s:
        # two rounds and the dump to a page server; what is restored came by way of it
        parent = {}
        for n in range(3):
            with service() as far:
                ps = ok(far.ask(rpc.PAGE_SERVER_CHLD, {"images_dir_fd": directory(D + "/far%d" % n), **parent}, keep_open=True)).ps
                opts = {"pid": s.pid, "ps": {"address": "127.0.0.1", "port": ps.port}, "track_mem": True}
                if n:
                    opts["parent_img"] = "../near%d" % (n - 1)
                ok(ask(connect, rpc.DUMP if n == 2 else rpc.SINGLE_PRE_DUMP, D + "/near%d" % n, **opts))
                check(ok(far.ask(rpc.WAIT_PID, pid=ps.pid)).status == 0, "the page server's end")
            check(not has_image(D + "/near%d" % n, "pages-.*"), "pages that stayed here")
            check(has_image(D + "/far%d" % n, "pages-.*"), "no pages there")
            if n < 2:
                s.goes_on()
            parent = {"parent_img": "../far%d" % n}
        s.is_gone()
        for name in images(D + "/near2"):
            if name not in ("parent", "log"):
                os.rename(D + "/near2/" + name, D + "/far2/" + name)
        check(ok(ask(connect, rpc.RESTORE, D + "/far2")).restore.pid == s.pid, "restored as another")
        s.is_right()

        # cpuinfo beside a dump; figures in the log
        ok(ask(connect, rpc.DUMP, D + "/cpu", pid=s.pid, leave_running=True, cpu_cap=15, display_stats=True, log_level=2))
        check(has_image(D + "/cpu", "cpuinfo.img") and "frozen_us" in open(D + "/cpu/log").read(), "cpuinfo, stats")

        # a configuration file over the request, with a script that is told of the stages
        with open(D + "/script", "w") as f:
            f.write("#!/bin/sh\necho $CRTOOLS_SCRIPT_ACTION >> %s/stages\n" % D)
        os.chmod(D + "/script", 0o755)
        directory(D + "/conf")
        with open(D + "/conf.conf", "w") as f:
            f.write("# over the request\nimages-dir %s/conf\nleave-running\nlog-file other.log\naction-script %s/script\n" % (D, D))
        ok(ask(connect, rpc.DUMP, D + "/not", pid=s.pid, config_file=D + "/conf.conf"))
        check(has_image(D + "/conf", "other.log") and has_image(D + "/conf", "inventory.img") and images(D + "/not") == [], "directories")
        check(open(D + "/stages").read().split() == ["pre-dump", "post-dump"], open(D + "/stages").read())
        ok(ask(connect, rpc.DUMP, D + "/none", pid=s.pid, leave_running=True, config_file=D + "/no-such-file"))
        with open(D + "/bad.conf", "w") as f:
            f.write("leave-running\nno-such-option 1\n")
        resp = ask(connect, rpc.DUMP, D + "/bad", pid=s.pid, config_file=D + "/bad.conf")
        check(not resp.success and resp.cr_errno == 56 and "bad.conf" in resp.cr_errmsg and "line 2" in resp.cr_errmsg, "%s" % resp)

        # what is refused
        for opts, text in (({"ps": {"address": "127.0.0.1"}}, "ps"), ({"pidfd_store_sk": 0}, "pidfd_store_sk"), ({"tcp_close": True, "root": "/x"}, "root"),
                           ({"work_dir_fd": 999}, "work_dir_fd"), ({"mntns_compat_mode": True}, "mntns_compat_mode")):
            resp = ask(connect, rpc.DUMP, D + "/refused", pid=s.pid, **opts)
            check(not resp.success and resp.cr_errno == 56 and text in resp.cr_errmsg, "%s: %s" % (opts, resp))
        # why is in the log too: that is what clients name
        for opts, text in (({"root": "/x"}, "root"), ({"parent_img": "../nowhere"}, "nowhere"), ({"external": ["mnt[]"]}, "external")):
            work = D + "/why-" + text
            resp = ask(connect, rpc.DUMP, D + "/refused", pid=s.pid, work_dir_fd=directory(work), **{**opts, "log_file": "why"})
            check(not resp.success and text in open(work + "/why").read(), "%s: %s" % (opts, resp))
        store = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ok(ask(connect, rpc.SINGLE_PRE_DUMP, D + "/store", pid=s.pid, pidfd_store_sk=store.fileno()))
        s.is_right()

        # behind a restore
        ok(ask(connect, rpc.DUMP, D + "/last", pid=s.pid))
        s.is_gone()
        told = D + "/told"
        if connect == service:
            os.mkfifo(T + "/end")
        resp = ok(ask(connect, rpc.RESTORE, D + "/last", exec_cmd=["/bin/sh", "-c", "echo $$ > %s.new; mv %s.new %s; read x < %s/end" % (told, told, told, T)])
                  ) if connect == service else None
        if resp:
            await_(lambda: os.path.exists(told), "the command runs")
            check(parent_of(s.pid) == int(open(told).read()), "the root is not the command's child")
            s.is_right()
            os.kill(s.pid, signal.SIGKILL)
            with open(T + "/end", "w") as f:
                f.write("x\n")
            for field in ({"rst_sibling": False}, {"inherit_fd": [{"key": "x", "fd": 1}]}, {"ps": {"fd": 1}}):
                type_ = rpc.DUMP if "ps" in field else rpc.RESTORE
                refused = ask(connect, type_, D + "/last", pid=1, **field)
                check(not refused.success and refused.cr_errno == 56 and list(field)[0] in refused.cr_errmsg, "%s: %s" % (field, refused))
        else:
            ok(ask(connect, rpc.RESTORE, D + "/last", rst_sibling=True))
            check(parent_of(s.pid) == os.getpid(), "no child of its client's")
            s.is_right()
            os.kill(s.pid, signal.SIGKILL)
            os.waitpid(s.pid, 0)

# A file's place is taken by one that the client has open.
with open(T + "/first", "w") as f:
    f.write("first\n")
with open(T + "/second", "w") as f:
    f.write("second\n")
reader = subprocess.Popen(["/bin/sh", "-c", "exec < %s/first; kill -STOP $$; cat > %s/read" % (T, T)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, start_new_session=True)
await_(lambda: state_of(reader.pid) == "T", "the reader waits")
ok(ask(Client.swrk, rpc.DUMP, T + "/reader", pid=reader.pid))
reader.wait(TIMEOUT)
second = os.open(T + "/second", os.O_RDONLY)
with Client.swrk(pass_fds=[second]) as c:
    ok(c.ask(rpc.RESTORE, {"images_dir_fd": directory(T + "/reader"), "log_file": "log", "inherit_fd": [{"key": (T + "/first")[1:], "fd": second}]}))
os.kill(reader.pid, signal.SIGCONT)
await_(lambda: os.path.exists(T + "/read") and open(T + "/read").read(), "it reads")
check(open(T + "/read").read() == "second\n", "it read: " + open(T + "/read").read())
EOF_CLIENT
