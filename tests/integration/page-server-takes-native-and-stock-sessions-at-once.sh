#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Our dump goes over to a native session by itself, unless it is told to speak as criu does, on the port where stock senders of both layouts are in the middle of theirs: it restores from what
# the server published and its memory is right; the others get what they sent.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
. tests/lib/images.sh
. tests/lib/criu.sh

mkdir "$T/sets" "$T/img"
workload
launch_server() {
	"$BUILD/dray" page-server -D "$T/sets" > "$T/server.out" 2> "$T/server.log" < /dev/null &
	server=$!
	disown "$server"
	subjects+=("$server")
	await 20 grep -q listening "$T/server.out"
	port=$(sed 's/.*://' "$T/server.out")
}
launch_server

mkfifo "$T/go"
cat > "$T/sender.py" << 'PY'
from ps_sender import *
import sys
port, t = sys.argv[1:]
senders = [Sender(port, 24), Sender(port, 32)]
for n, s in enumerate(senders):
    s.open(7)
    s.pages(0x10000, page(n + 1))
open(t + "/begun", "w").close()
open(t + "/go").read()
for n, s in enumerate(senders):
    s.pages(0x20000, page(n + 11))
    assert s.close() == 0
    assert published("%s/sets/%d" % (t, n + 1), 7)[1] == page(n + 1) + page(n + 11)
PY
PYTHONPATH=tests/lib PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$T/sender.py" "$port" "$T" & senders=$!
subjects+=("$senders")
await 60 test -e "$T/begun"

mkdir "$T/stock"
fails 1 'auto, stock or native' criu pre-dump -t "$subject" -D "$T/stock" --page-server --address 127.0.0.1 --port "$port" --ps-protocol fast
criu pre-dump -t "$subject" -D "$T/stock" --page-server --address 127.0.0.1 --port "$port" --ps-protocol stock || fail "as criu: $(cat "$T/server.log")"
await 20 grep -q 'session 3.*published .*native=0' "$T/server.log"
criu dump -t "$subject" -D "$T/img" --page-server --address 127.0.0.1 --port "$port" --ps-protocol native || fail "dump: $(cat "$T/server.log")"
ended
echo > "$T/go"
wait "$senders" || fail "a stock sender beside it"
await 20 grep -q 'published .*native=1' "$T/server.log"
both_stock() { [ "$(grep -c 'published .*native=0' "$T/server.log")" = 3 ]; }
await 20 both_stock
cp "$T"/sets/4/* "$T/img"
criu restore -d -D "$T/img" || fail "restore"
workload_right
