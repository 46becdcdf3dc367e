#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Debian's pycriu, as it is, through a service's socket, a descriptor, and by starting the program itself: check, dump, pre_dump, restore, and a page
# server whose end is waited for.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
"$PYTHON" -c 'import pycriu' 2> /dev/null || { echo "pycriu is not installed"; exit 77; }
service_start
BEFORE='import pycriu' client <<'EOF_CLIENT'
import page_sender
from rpc_subject import *


def session(kind, name):
    c = pycriu.criu()
    if kind == "service":
        c.use_sk(T + "/rpc.sock")
    elif kind == "descriptor":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(T + "/rpc.sock")
        c.use_fd(sock.detach())
    else:
        c.use_binary(os.environ["DRAY"])
    c.opts.images_dir_fd = directory(name)
    c.opts.log_file = "log"
    c.opts.log_level = 4
    return c


PAGES = bytes(4096)
for kind in ("service", "descriptor", "program"):
    D = T + "/" + kind
    session(kind, D + "/check").check()
    with Subject(D + "/subject") as s:
        c = session(kind, D + "/a")
        c.opts.pid = s.pid
        c.opts.track_mem = True
        c.pre_dump()
        s.goes_on()
        c = session(kind, D + "/b")
        c.opts.pid = s.pid
        c.opts.track_mem = True
        c.opts.parent_img = "../a"
        c.dump()
        s.is_gone()
        restored = session(kind, D + "/b").restore()
        check(restored.pid == s.pid, "restored as %d" % restored.pid)
        s.is_right()
        c = session(kind, D + "/bad")
        c.opts.pid = s.pid
        c.opts.external.append("tty[1]")
        try:
            c.dump()
            check(False, "no exception")
        except pycriu.CRIUExceptionExternal as e:
            check(e.errno == 56, "errno: %s" % e)
        s.is_right()
    c = session(kind, D + "/pages")
    c.opts.ps.address = "127.0.0.1"
    c.opts.ps.port = 0
    server = c.page_server_chld()
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        page_sender.send(sock, 41, 0x10000, PAGES)
    check(c.wait_pid(server.pid) == 0, "the page server's status")
    check(os.path.exists(D + "/pages/pagemap-41.img"), "not published")
EOF_CLIENT
