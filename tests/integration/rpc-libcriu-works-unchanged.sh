#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Debian's libcriu, as it is, through a service's socket and by starting `criu swrk` itself: check, version, features, pre-dumps on top of each
# other, rounds on one connection, here and to our page server, dump with notifications, restore, restore as a child, and a process that has itself dumped.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
[ -x "$BUILD/subjects/libcriu_client" ] || { echo "clients are not built"; exit 77; }
service_start
ln -s "$DRAY" "$T/criu"
client <<'EOF_CLIENT'
import shutil
import subprocess
from rpc_subject import *

PROGRAM = os.environ["BUILD"] + "/subjects/libcriu_client"


class Libcriu:
    def __init__(self, *server):
        self.server = server

    def run(self, *args, fails=False, **more):
        r = subprocess.run([PROGRAM, *self.server, *map(str, args)], capture_output=True, text=True, timeout=TIMEOUT, **more)
        log = args[-1] + "/log" if os.path.isdir(str(args[-1])) else None
        check((r.returncode != 0) == fails, "%s: exit %d, %s%s%s" % (args, r.returncode, r.stdout, r.stderr, open(log).read() if log else ""))
        return r.stdout.split(), r.stderr.split()


def in_group(pgid):
    found = []
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % p) as f:
                found += [p] if int(f.read().rpartition(")")[2].split()[2]) == pgid else []
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


for kind, server in (("service", T + "/rpc.sock"), ("swrk", T + "/criu"), ("swrk", os.environ["DRAY"])):
    lib = Libcriu(kind, server)
    D = T + "/" + kind + os.path.basename(server)
    for name in ("a", "b", "c", "no", "0", "1", "2", "self"):
        os.close(directory(D + "/" + name))

    lib.run("check")
    check(lib.run("version")[0][1] == "40200", "the version")
    features, _ = lib.run("features")
    with Subject(D + "/subject") as s:
        lib.run("pre-dump", s.pid, D + "/a")
        s.goes_on()
        lib.run("pre-dump", s.pid, D + "/b", "../a")
        s.goes_on()
        out, _ = lib.run("dump", s.pid, D + "/no", "refuse=post-dump", fails=True)
        s.goes_on()
        _, notes = lib.run("dump", s.pid, D + "/c", "../b")
        check(notes == ["pre-dump", "0", "query-ext-files", "0", "post-dump", "0"], "notifications: %s" % notes)
        s.is_gone()
        check(os.readlink(D + "/c/parent") == "../b" and os.readlink(D + "/b/parent") == "../a", "parents")
        out, notes = lib.run("restore", D + "/c")
        check(out == ["restore", str(s.pid)], "restored: %s" % out)
        check(notes == ["pre-restore", "0", "post-restore", str(s.pid), "pre-resume", "0", "post-resume", "0"], "notifications: %s" % notes)
        s.is_right()

    with Subject(D + "/subject", rate="0.05") as s:  # so that a round is small however long it lasts
        lib.run("iters", s.pid, D, 2)
        s.is_gone()
        check(os.path.getsize(D + "/2/pages-1.img") < os.path.getsize(D + "/0/pages-1.img") / 2, "all pages again in the last round")
        # libcriu starts this one itself whatever it was told.
        parent = subprocess.Popen([PROGRAM, *(lib.server if kind == "swrk" else ("swrk", T + "/criu")), "restore-child", D + "/2"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        check(parent.stdout.readline() == "restore-child %d\n" % s.pid, "no child")
        s.is_right()
        check(parent_of(s.pid) == parent.pid, "its parent is %d" % parent_of(s.pid))
        parent.communicate("seen\n", timeout=TIMEOUT)
        check(parent.returncode == 0, "it could not wait for it")

    sets = D + "/sets"
    os.mkdir(sets)
    server = subprocess.Popen([os.environ["DRAY"], "page-server", "-D", sets, "--chain"], stdout=subprocess.PIPE, stderr=open(D + "/server.log", "w"), text=True)
    try:
        port = server.stdout.readline().rpartition(":")[2].strip()
        with Subject(D + "/subject", rate="0.05") as s:
            away = D + "/away"
            for n in range(3):
                os.close(directory("%s/%d" % (away, n)))
            lib.run("iters", s.pid, away, 2, port)
            s.is_gone()
            check([n for n in os.listdir(away + "/2") if n.startswith("pages-")] == [], "pages here")
            size = [sum(os.path.getsize(e) for e in os.scandir("%s/%d" % (sets, n)) if e.name.startswith("pages-")) for n in (1, 2, 3)]
            check(max(size[1:]) < size[0] / 2, "all pages again: %s" % size)
            for name in os.listdir(away + "/2"):
                if name.endswith(".img"):
                    shutil.copy("%s/2/%s" % (away, name), sets + "/3/")
            lib.run("restore", sets + "/3")
            s.is_right()
    finally:
        server.terminate()
        server.wait()

    null = subprocess.DEVNULL
    told = D + "/told"
    p = subprocess.Popen([PROGRAM, *lib.server, "self", D + "/self", told], stdin=null, stdout=null, stderr=null, start_new_session=True)
    check(p.wait(TIMEOUT) == -signal.SIGKILL, "it was not dumped: %s" % p.returncode)
    check(not os.path.exists(told), "it was told something before it was restored")
    # The helper that libcriu forked is still of its process group until init has waited for it.
    await_(lambda: not in_group(p.pid), "its process group is gone")
    out, _ = lib.run("restore", D + "/self")
    check(out == ["restore", str(p.pid)], "restored: %s" % out)
    try:
        await_(lambda: os.path.exists(told) and open(told).read().endswith("\n"), "it goes on")
        # libcriu's criu_dump returns 1 to a process that finds itself restored.
        check(open(told).read() == "%d 1\n" % p.pid, "told: " + open(told).read())
    finally:
        os.kill(p.pid, signal.SIGKILL)
EOF_CLIENT
