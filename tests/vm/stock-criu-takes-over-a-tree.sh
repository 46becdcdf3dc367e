#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A tree of two processes, which the native engine does not carry: `criu dump` and `criu restore` of ours hand it to the installed criu, by command
# and by RPC, and say why. Both processes are back.
. "$(dirname "$0")/../lib/vm.sh"
needs criu
in_vm 400
. tests/lib/images.sh

both_there() { [ "$(cat "/proc/$subject/task/$subject/children" 2> /dev/null)" = "$child " ]; }
mkdir "$T/i" "$T/r"
launch sh -c 'sleep 1000 & wait'
has_child() { child=$(cat "/proc/$subject/task/$subject/children") && child=${child% } && [ -n "$child" ]; }
await 30 has_child
"$BUILD/dray" criu dump -t "$subject" -D "$T/i" 2> "$T/err" || fail "dump: $(cat "$T/err")"
grep -q 'engine criu, .*/criu: ' "$T/err" || fail "not said: $(cat "$T/err")"
ended
"$BUILD/dray" criu restore -d -D "$T/i" 2> "$T/err" || fail "restore: $(cat "$T/err")"
grep -q 'engine criu, .*/criu: ' "$T/err" || fail "not said: $(cat "$T/err")"
await 30 both_there
echo "ok: by command"

PYTHONPATH=$PWD/tests/lib DRAY=$BUILD/dray /usr/bin/python3 - "$subject" "$T/r" <<'EOF'
import sys
from rpc_client import *
with Client.swrk() as c:
    resp = c.ask(rpc.DUMP, {"images_dir_fd": directory(sys.argv[2]), "pid": int(sys.argv[1]), "log_file": "log"})
    check(resp.type == rpc.DUMP and resp.success, "dump: %s" % resp)
with Client.swrk() as c:
    resp = c.ask(rpc.RESTORE, {"images_dir_fd": directory(sys.argv[2]), "log_file": "log"})
    check(resp.success and resp.restore.pid == int(sys.argv[1]), "restore: %s" % resp)
EOF
await 30 both_there
kill -KILL "$child" "$subject"
echo "ok: by RPC"
