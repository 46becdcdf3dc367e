#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A client that is not root gets nothing from a root service that it could not do itself: others' processes, those that don't let themselves be
# looked into, directories and files of others are refused, by name, and left alone. Its own it may dump, and its files are its own.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }
service_start --rpc-mode 0666
chmod 755 "$T"
mkdir -m 700 "$T/roots"
mkdir -m 1777 "$T/all"
echo secret > "$T/roots/file"
client <<'EOF_CLIENT'
import subprocess
from rpc_subject import *

NOBODY = 65534
as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def nobody(script, *args):
    r = subprocess.run([sys.executable, "-c", "from rpc_client import *\nT = os.environ['T']\n" + script, *map(str, args)], capture_output=True,
                       text=True, timeout=TIMEOUT, **as_nobody)
    check(r.returncode == 0, r.stdout + r.stderr)
    return r.stdout


REFUSED = """
pid, expected, text = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for type_ in (rpc.DUMP, rpc.SINGLE_PRE_DUMP, rpc.PRE_DUMP):
    with Client.service(T + "/rpc.sock") as c:
        resp = c.ask(type_, {"pid": pid, "images_dir_fd": directory(T + "/all/nobodys"), "log_file": "log"})
        check(not resp.success and resp.cr_errno == expected and text in resp.cr_errmsg, "not refused: %s" % resp)
"""
DIRECTORIES = """
pid = int(sys.argv[1])
for type_ in (rpc.DUMP, rpc.CPUINFO_DUMP, rpc.PAGE_SERVER, rpc.RESTORE):
    for opts in ({"images_dir_fd": -1, "images_dir": T + "/roots"}, {"images_dir_fd": directory(T + "/all/nobodys"), "parent_img": "../../roots"},
                 {"images_dir_fd": directory(T + "/all/nobodys"), "config_file": T + "/roots/file"},
                 {"images_dir_fd": directory("/"), "log_file": "log"}):
        if type_ != rpc.DUMP and type_ != rpc.PAGE_SERVER and "parent_img" in opts:
            continue
        with Client.service(T + "/rpc.sock") as c:
            resp = c.ask(type_, {"pid": pid, **opts})
            check(not resp.success and "ermission denied" in resp.cr_errmsg, "not refused: %s %s" % (opts, resp))
"""
OWN = """
with Client.service(T + "/rpc.sock") as c:
    resp = c.ask(rpc.DUMP, {"pid": int(sys.argv[1]), "images_dir_fd": directory(T + "/all/nobodys/own"), "leave_running": True, "log_file": "log", "log_level": 4})
    check(resp.success, resp.cr_errmsg)
"""
RESTORE = """
with Client.service(T + "/rpc.sock") as c:
    resp = c.ask(rpc.RESTORE, {"images_dir_fd": directory(T + "/all/" + sys.argv[1]), "log_file": "restore.log", "log_level": 4})
    print(resp.success, resp.restore.pid, resp.cr_errmsg)
"""

nobody("directory(T + '/all/nobodys')")
with Subject(T + "/roots/subject") as roots, Subject(T + "/all/subject", **as_nobody) as own:
    nobody(REFUSED, roots.pid, 1, "not user 65534's own")
    nobody(REFUSED, 1, 1, "not user 65534's own")
    nobody(REFUSED, 2 ** 22 - 1, 3, "no process")
    nobody(DIRECTORIES, own.pid)
    roots.is_right()
    nobody(OWN, own.pid)
    own.is_right()
    check({os.stat(T + "/all/nobodys/own/" + n).st_uid for n in images(T + "/all/nobodys/own")} == {NOBODY}, "files that are not its own")
    # Images that make a process of root's. Root's own, copied for anybody to read.
    with Client.service(T + "/rpc.sock") as c:
        check(c.ask(rpc.DUMP, {"pid": roots.pid, "images_dir_fd": directory(T + "/all/roots"), "log_file": "log"}).success, "the dump")
    roots.is_gone()
    subprocess.check_call("chmod -R a+rwX %s/all/roots" % T, shell=True)
    answer = nobody(RESTORE, "roots")
    check(answer.startswith("False"), "a process of root's was made: " + answer)
    await_(lambda: state_of(roots.pid) is None, "there is no process of root's")

# One that does not let itself be looked into, though it is the client's own.
closed = subprocess.Popen([sys.executable, "-c", """
import ctypes, sys
ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE
print("ready", flush=True)
sys.stdin.read()
"""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **as_nobody)
check(closed.stdout.readline() == "ready\n", "no subject")
nobody(REFUSED, closed.pid, 1, "looked into")
closed.communicate(timeout=TIMEOUT)
EOF_CLIENT
[ "$(cat "$T/roots/file")" = secret ] && [ "$(ls "$T/roots")" = "file
subject" ] || fail "root's files: $(ls -l "$T/roots")"
