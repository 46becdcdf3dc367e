#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A socket that the service manager opened is served in place of --port, by the page server and by the agent: who connected before the program ran is
# served too. One that other hosts reach needs --insecure as ever, one that is not listening is refused.
. "$(dirname "$0")/../lib/page_server.sh"
cat > "$T/activate.py" << 'PY'
"""activate.py ADDRESS KIND FILE PROGRAM... - listens (KIND: listening), writes the port to FILE, and becomes the program with that socket as 3."""
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.bind((sys.argv[1], 0))
if sys.argv[2] == "listening":
    s.listen(8)
with open(sys.argv[3] + ".new", "w") as f:
    f.write("%d" % s.getsockname()[1])
if sys.argv[2] == "listening":
    waiting = socket.create_connection(("127.0.0.1", s.getsockname()[1]))
os.rename(sys.argv[3] + ".new", sys.argv[3])
fd = os.dup(s.fileno()) if s.fileno() == 3 else s.fileno()
os.dup2(fd, 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[4], sys.argv[4:])
PY
activate=(/usr/bin/python3 "$T/activate.py")
"${activate[@]}" 127.0.0.1 listening "$T/port" "$DRAY" page-server -D "$IMAGES" --port 1 > "$T/out" 2> "$T/log" < /dev/null &
server=$!
await 20 grep -q listening "$T/out"
port=$(cat "$T/port")
grep -qx "listening on 127.0.0.1:$port" "$T/out" || fail "it listens elsewhere: $(cat "$T/out")"
sender << 'PY'
s = Sender(os.environ["PORT"])
s.open(1)
s.pages(0x1000, page(1))
assert s.close() == 0
PY
server_stop
# what waited there before is a session of its own, which ended without a word
[ "$(grep -c session-begin "$T/log")" = 2 ] || fail "not served: $(cat "$T/log")"

rc=0; ("${activate[@]}" 0.0.0.0 listening "$T/port" "$DRAY" page-server -D "$IMAGES") > "$T/out" 2> "$T/err" < /dev/null || rc=$?
[ "$rc" = 2 ] && grep -q -- --insecure "$T/err" || fail "an open address: exit $rc, $(cat "$T/err")"
rc=0; ("${activate[@]}" 127.0.0.1 bound "$T/port" "$DRAY" page-server -D "$IMAGES") > "$T/out" 2> "$T/err" < /dev/null || rc=$?
[ "$rc" = 2 ] && grep -q 'does not listen' "$T/err" || fail "not listening: exit $rc, $(cat "$T/err")"

[ "$(id -u)" = 0 ] || exit 0
"${activate[@]}" 127.0.0.1 listening "$T/port" "$DRAY" agent --state-dir "$T/state" --metrics "unix:$T/m" > "$T/out" 2> "$T/log" < /dev/null &
server=$!
await 20 grep -q listening "$T/out"
grep -qx "listening on 127.0.0.1:$(cat "$T/port")" "$T/out" || fail "the agent listens elsewhere: $(cat "$T/out")"
sender << 'PY'
from prometheus import metrics
m = metrics("unix:" + os.environ["T"] + "/m")
assert m["dray_agent_migrations_running"] == 0 and not [k for k in m if "page_server" in k], m
PY
server_stop
