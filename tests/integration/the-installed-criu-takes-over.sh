#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the native engine can't carry is handed to the installed criu whole: a command with its own command line, a request still unread in its
# socket. Only if that criu's own check is content, never with the engine native, always with the engine criu; and it is said, with the reason.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
fail() { echo "FAILED: $*" >&2; exit 1; }
unset DRAY_ENGINE
# A criu that says what it was asked for, and answers any request with success.
mkdir "$T/bin" "$T/i"
cat > "$T/bin/criu" <<EOF
#!$PYTHON
import os, socket, sys
sys.path.insert(0, "$here/tests/lib")
if sys.argv[1] == "check":
    sys.exit(os.path.exists("$T/unwell"))
open("$T/asked", "a").write(" ".join(sys.argv[1:]) + "\n")
if sys.argv[1] != "swrk":
    sys.exit(7)
from rpc_client import rpc
line = socket.socket(fileno=int(sys.argv[2]))
req = rpc.criu_req.FromString(line.recv(65536))
line.send(rpc.criu_resp(type=req.type, success=True, cr_errmsg="stock").SerializeToString())
EOF
chmod 755 "$T/bin/criu"
export DRAY_CRIU=$T/bin/criu
asked() { cat "$T/asked" 2> /dev/null || true; rm -f "$T/asked"; }
dump() { rc=0; "$DRAY" criu dump -t 4194303 -D "$T/i" "$@" > "$T/out" 2> "$T/err" < /dev/null || rc=$?; }

dump --external 'mnt[]' --criu "$T/bin/criu" -v4 -- --engine
[ "$rc" = 7 ] || fail "the command was not handed over: $rc, $(cat "$T/err")"
[ "$(asked)" = "dump -t 4194303 -D $T/i --external mnt[] -v4 -- --engine" ] || fail "not with its command line"
grep -q 'engine criu.*--external' "$T/err" || fail "not said, or not why: $(cat "$T/err")"
dump
[ "$rc" = 1 ] && [ -z "$(asked)" ] || fail "handed over though nothing speaks against the native engine"
dump --external 'mnt[]' --engine native
[ "$rc" = 1 ] && [ -z "$(asked)" ] || fail "handed over in spite of --engine native"
grep -q -e '--external is not supported' "$T/err" || fail "native: $(cat "$T/err")"
dump --engine criu
[ "$rc" = 7 ] || fail "--engine criu: $rc"
dump --engine both
[ "$rc" = 1 ] && grep -q "engine 'both'" "$T/err" || fail "--engine both: $rc"
dump --engine criu --criu "$T/nowhere"
[ "$rc" = 1 ] && grep -qF -e "--criu $T/nowhere: no other program" "$T/err" || fail "a criu that is not there: $rc, $(cat "$T/err")"
asked > /dev/null
touch "$T/unwell"
dump --external 'mnt[]'
[ "$rc" = 1 ] && [ -z "$(asked)" ] || fail "handed to a criu whose check fails"
rm "$T/unwell"
echo "ok: commands"

# What the round before left in the process, to learn what changes, is no obstacle of the process.
client <<'EOF_CLIENT'
import subprocess
from rpc_subject import await_, state_of


def criu(*args):
    r = subprocess.run([os.environ["DRAY"], "criu", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT)
    check(r.returncode == 0 and not r.stderr, "%s: %d, %s" % (args, r.returncode, r.stderr))


null = subprocess.DEVNULL
sleeper = subprocess.Popen(["sleep", "1000"], stdin=null, stdout=null, stderr=null, start_new_session=True)
await_(lambda: state_of(sleeper.pid) == "S", "it sleeps")
try:
    for n in "12":
        os.mkdir(T + "/" + n)
    criu("pre-dump", "-t", str(sleeper.pid), "-D", T + "/1", "--track-mem")
    criu("dump", "-t", str(sleeper.pid), "-D", T + "/2", "--prev-images-dir", "../1", "--track-mem")
finally:
    sleeper.kill()
    sleeper.wait()
EOF_CLIENT
[ -z "$(asked)" ] || fail "rounds were handed over"
echo "ok: rounds"

service_start
client <<'EOF_CLIENT'
import subprocess

null = subprocess.DEVNULL
sleeper = subprocess.Popen(["sleep", "1000"], stdin=null, stdout=subprocess.PIPE, stderr=null, start_new_session=True)  # a pipe to us: no native dump
try:
    for connect in (lambda: Client.service(T + "/rpc.sock"), Client.swrk):
        images = {"images_dir_fd": directory(T + "/i"), "log_file": "log"}
        for type_, opts in ((rpc.DUMP, {**images, "pid": sleeper.pid}), (rpc.SINGLE_PRE_DUMP, {**images, "pid": sleeper.pid}),
                            (rpc.RESTORE, {**images, "root": "/"}), (rpc.DUMP, {**images, "pid": 4194303, "external": ["mnt[]"]})):
            with connect() as c:
                resp = c.ask(type_, opts)
                check(resp.type == type_ and resp.success and resp.cr_errmsg == "stock", "not handed over: %s" % resp)
        check(not os.path.exists(T + "/i/log"), "a log of the native engine's")
        for type_, opts in ((rpc.DUMP, {**images, "pid": 4194303}), (rpc.RESTORE, images), (rpc.VERSION, None)):
            with connect() as c:
                resp = c.ask(type_, opts) if opts else c.ask(type_)
                check(resp.type == type_ and resp.cr_errmsg != "stock", "handed over for no reason: %s" % resp)
        os.unlink(T + "/i/log")
        with connect() as c:  # what only swrk may ask for is not asked in a service's name
            resp = c.ask(rpc.RESTORE, {**images, "root": "/", "rst_sibling": True})
            check(resp.success == (c.process is not None), "rst_sibling: %s" % resp)
finally:
    sleeper.kill()
    sleeper.wait()
EOF_CLIENT
grep -q 'engine name=criu.*why="option root"' "$T/service.log" || fail "the service does not say it: $(cat "$T/service.log")"
echo "ok: requests"
