#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A session whose set is published, and whose sender's last word was lost, waits for it and keeps nobody out meanwhile: it takes no place of --max-sessions. As many may wait
# as there are places, then they count. A server that is told to end waits for none of them.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
server=''
relay=''
leave() { for p in $server $relay; do kill "$p" 2> /dev/null || true; done; finish_images; }
trap leave EXIT
mkdir "$T/sets"
"$BUILD/dray" page-server -D "$T/sets" --max-sessions 1 --resume-timeout 10m --metrics "unix:$T/metrics.sock" > "$T/server.out" 2> "$T/server.log" < /dev/null &
server=$!
await 20 grep -q listening "$T/server.out"
port=$(sed 's/.*://' "$T/server.out")
# All but the last word, in whose place is a reset.
cat > "$T/relay.py" << 'END'
import socket, struct, sys, threading
def pump(a, b, last):
    try:
        while True:
            data = a.recv(65536)
            if not data or (last and data == b"\xff" * 8):
                break
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.shutdown(socket.SHUT_RD)
            s.close()
        except OSError:
            pass
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    near, _ = listener.accept()
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=pump, args=(near, far, True), daemon=True).start()
    threading.Thread(target=pump, args=(far, near, False), daemon=True).start()
END
/usr/bin/python3 "$T/relay.py" "$port" > "$T/relay.out" 2> "$T/relay.err" < /dev/null &
relay=$!
await 20 test -s "$T/relay.out"
wire=$(cat "$T/relay.out")
send() { # DIR PORT
	mkdir -p "$T/$1"
	criu pre-dump -t "$subject" -D "$T/$1" --ps-protocol native --page-server --address 127.0.0.1 --port "$2"
}
running() { "$BUILD/dray" status "$T/metrics.sock" | grep -q " $1 running"; }
cuts() { [ "$(grep -c 'stream-cut' "$T/server.log")" = "$1" ]; }

workload --size 2M
send lost "$wire" || fail "the dump whose last word is lost: $(cat "$T/server.log")"
await 20 cuts 1
send next "$port" || fail "the next one was kept out: $(cat "$T/server.log")"
await 20 running 1
send also-lost "$wire" || fail "another whose last word is lost: $(cat "$T/server.log")"
await 20 cuts 2
fails 1 'page server' send many "$port"
refused() { grep -q 'max-sessions' "$T/server.log"; }
await 20 refused
echo "ok: those that wait take no place"
kill "$server"
wait "$server" || fail "the server ended with $?: $(cat "$T/server.log")"
server=
! grep session-failed "$T/server.log" | grep -v max-sessions || fail "a session failed"
[ "$(ls "$T/sets")" = "$(printf '1\n2\n3')" ] || fail "sets: $(ls "$T/sets")"
workload_right
echo "ok: and keep nobody waiting"
