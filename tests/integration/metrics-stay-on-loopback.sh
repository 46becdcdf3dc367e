#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Metrics go out in plain text: without --insecure they are served on loopback or a unix socket and nowhere else; where something else has the
# path, it stays.
. "$(dirname "$0")/../lib/page_server.sh"
refused() { # exit code, words, option value
	local rc=0
	timeout 60 "$DRAY" page-server -D "$IMAGES" --metrics "$3" > "$T/out" 2> "$T/err" < /dev/null || rc=$?
	[ "$rc" = "$1" ] && grep -q -- "$2" "$T/err" || fail "$3: exit $rc, $(cat "$T/err")"
}
refused 2 '--insecure' 0.0.0.0:0
refused 2 'ADDRESS:PORT' 127.0.0.1
refused 2 'ADDRESS:PORT' nonsense
refused 2 "a socket's path" unix:
: > "$T/file"
refused 10 'no socket' "unix:$T/file"
[ -f "$T/file" ] || fail "the file is gone"
server_start --metrics "unix:$T/m"
[ "$(stat -c %a "$T/m")" = 600 ] || fail "others may read: $(stat -c %a "$T/m")"
refused 10 'in use' "unix:$T/m"
kill -KILL "$server"; wait "$server" 2> /dev/null
# what a killed server left behind is taken over, once its exporter has noticed
free() { ! python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$T/m" 2> /dev/null; }
await 20 free
server_start --metrics "unix:$T/m"
server_stop
server_start --insecure --metrics 0.0.0.0:0
sender << PY
from prometheus import metrics
assert "dray_start_time_seconds" in metrics("127.0.0.1:" + "$(metrics_address)".rsplit(":", 1)[1])
PY
server_stop
