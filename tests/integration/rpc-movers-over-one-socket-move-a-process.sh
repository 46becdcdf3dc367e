#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What p.haul and the phaul of go-criu ask for, in their order: rounds and the dump through one connected socket that both sides inherit (ps.fd), and that carries other words between them. p.haul has
# one server on each side for everything, phaul one at the source and one for each round at the destination; it tracks only in the last round. What
# arrived is whole, and restored it is what was dumped.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
client <<'EOF_CLIENT'
import shutil
from rpc_subject import *

ROUNDS = 3


def ok(resp, type_):
    check(resp.type == type_ and resp.success, "%s: %s" % (type_, resp))
    return resp


def wire():
    """A TCP connection: the source's end, the destination's."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        a = socket.create_connection(s.getsockname(), TIMEOUT)
        b, _ = s.accept()
    for end in a, b:
        end.setblocking(True)
    return a, b


def words_pass(a, b):
    """Nobody took anything that was not for it, and nothing is left."""
    for one, other in ((a, b), (b, a)):
        one.sendall(b"between the rounds")
        check(other.recv(100) == b"between the rounds", "the socket has something else in it")


def pages_written(work):
    stats = open(work + "/stats-dump", "rb").read()
    check(len(stats) > 12, "no stats-dump")


def round_(D, side, n, **more):
    o = {"images_dir_fd": directory("%s/%s/%d" % (D, side, n)), "log_file": "log", "log_level": 4, **more}
    if n:
        o["parent_img"] = "../%d" % (n - 1)
    return o


def complete(D):
    """As a mover copies the images beside the pages that came."""
    for name in images("%s/src/%d" % (D, ROUNDS)):
        if name.endswith(".img") and not os.path.exists("%s/dst/%d/%s" % (D, ROUNDS, name)):
            shutil.copy("%s/src/%d/%s" % (D, ROUNDS, name), "%s/dst/%d/" % (D, ROUNDS))


def arrived(D):
    """Rounds after the first have what changed alone."""
    sizes = [sum(os.path.getsize(e) for e in os.scandir("%s/dst/%d" % (D, n)) if e.name.startswith("pages-")) for n in range(ROUNDS + 1)]
    check(sizes[0] > 8 << 20, "the first round: %s" % sizes)
    check(all(s < sizes[0] / 2 for s in sizes[1:]), "all pages again: %s" % sizes)


D = T + "/haul"
with Subject(D + "/subject", rate="0.05") as s:
    a, b = wire()
    with Client.swrk(pass_fds=[a.fileno()]) as source, Client.swrk(pass_fds=[b.fileno()]) as dest:
        cpu = {"images_dir_fd": directory(D + "/cpu")}
        ok(source.ask(rpc.CPUINFO_DUMP, cpu, keep_open=True), rpc.CPUINFO_DUMP)
        ok(dest.ask(rpc.CPUINFO_CHECK, cpu, keep_open=True), rpc.CPUINFO_CHECK)
        source.sock.send(rpc.criu_req(type=rpc.FEATURE_CHECK, features=rpc.criu_features(mem_track=True), keep_open=True).SerializeToString())
        check(ok(source.receive(), rpc.FEATURE_CHECK).features.mem_track, "no tracking")
        work = {"work_dir_fd": directory(D + "/work-src"), "ps": {"fd": a.fileno()}, "pid": s.pid, "track_mem": True, "tcp_skip_in_flight": True,
                "shell_job": True, "auto_dedup": True}
        for n in range(ROUNDS + 1):
            resp = ok(dest.ask(rpc.PAGE_SERVER, round_(D, "dst", n, ps={"fd": b.fileno()}, work_dir_fd=directory(D + "/work-dst"), auto_dedup=True),
                               keep_open=True), rpc.PAGE_SERVER)
            if n < ROUNDS:
                ok(source.ask(rpc.PRE_DUMP, round_(D, "src", n, **work)), rpc.PRE_DUMP)
                pages_written(D + "/work-src")
                words_pass(a, b)
                s.goes_on()
        held = []

        def at(note):
            if note.script == "post-dump":  # here a mover copies images and restores
                words_pass(a, b)
                check(state_of(s.pid) != "Z", "it is gone before its images were copied")
                complete(D)
                held.append(s.beats())
            return True

        ok(source.ask(rpc.DUMP, round_(D, "src", ROUNDS, **work, notify_scripts=True, file_locks=True, evasive_devices=True, link_remap=True), on_notify=at), rpc.DUMP)
        check([n for n, _ in source.notes] == ["pre-dump", "query-ext-files", "post-dump"], "%s" % source.notes)
        check(s.beats() == held[0], "it ran while it was held")
        s.is_gone()
        words_pass(a, b)
        resp = ok(dest.ask(rpc.RESTORE, {"images_dir_fd": directory("%s/dst/%d" % (D, ROUNDS)), "notify_scripts": True, "shell_job": True}), rpc.RESTORE)
        check(resp.restore.pid == s.pid and dest.notes[-1][0] == "post-resume", "%s %s" % (resp, dest.notes))
    s.is_right()
print("ok: p.haul")

D = T + "/phaul"
with Subject(D + "/subject", rate="0.05") as s:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with Client.swrk(pass_fds=[a.fileno()]) as source:
        for n in range(ROUNDS + 1):
            with Client.swrk(pass_fds=[b.fileno()]) as dest:
                resp = ok(dest.ask(rpc.PAGE_SERVER_CHLD, round_(D, "dst", n, ps={"fd": b.fileno()})), rpc.PAGE_SERVER)
                server = resp.ps.pid
                check(server > 1 and dest.is_closed() and dest.exit_status() == 0, "swrk for a round")
            o = {"pid": s.pid, "ps": {"fd": a.fileno()}}
            if n:
                o["parent_img"] = "%s/src/%d" % (D, n - 1)
            if n < ROUNDS:
                ok(source.ask(rpc.PRE_DUMP, {**round_(D, "src", n), **o}), rpc.PRE_DUMP)
                pages_written("%s/src/%d" % (D, n))
                s.goes_on()
            else:
                ok(source.ask(rpc.DUMP, {**round_(D, "src", n), **o, "track_mem": True, "notify_scripts": True}), rpc.DUMP)
            words_pass(a, b)
            await_(lambda: state_of(server) is None, "the page server of the round has ended")
        check(source.is_closed() and source.exit_status() == 0, "the source's swrk")
    s.is_gone()
    arrived(D)
    complete(D)
    with Client.swrk() as c:
        check(ok(c.ask(rpc.RESTORE, {"images_dir_fd": directory("%s/dst/%d" % (D, ROUNDS))}), rpc.RESTORE).restore.pid == s.pid, "as another")
    s.is_right()
print("ok: phaul")
EOF_CLIENT
