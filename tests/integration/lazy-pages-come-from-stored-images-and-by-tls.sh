#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process runs before its pages are there, which come out of a set that a page server has stored, in plain text and by TLS; and by TLS from a lazy dump.
# Under the name criu a page server does it too. Who has no business there, the wrong name, plain text to TLS and TLS to plain text are told, a stranger
# costs a lazy dump nothing, and the process finds its memory right.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
LIB=tests/lib
skip() { echo "$*"; exit 77; }
[ -x "$BUILD/subjects/workload" ] || skip "subjects are not built"
[ -r /usr/lib/python3/dist-packages/pycriu/__init__.py ] || skip "needs pycriu (package criu)"
# The port is nobody else's.
[ -n "${IN_NET:-}" ] || exec unshare --net env IN_NET=1 "$PWD/tests/integration/$(basename "$0")"
ip link set lo up
. tests/lib/images.sh
. tests/lib/criu.sh
. tests/lib/lazy_restore.sh
. tests/lib/tls.sh
certs_make

copy_right_and_ends() {
	copy_runs
	copy_right
	ended_well "$daemon" daemon
	copy_ends
}
server='' dump='' daemon=''
background() { # NAME COMMAND...: its pid in $NAME, one of these
	: > "$T/$1.out" # what one of that name said before must not be taken for this one's
	"${@:2}" > "$T/$1.out" 2> "$T/$1.err" < /dev/null &
	declare -g "$1=$!"
	subjects+=($!)
}
listens() { grep -q listening "$T/$1.out"; }
daemon() { # DIR PORT [OPTION...]
	background daemon "$T/bin/criu" lazy-pages -D "$1" --page-server --address 127.0.0.1 --port "$2" "${@:3}"
	daemon_ready "$1"
}
refuses() { # WORDS PORT OPTION...: what a daemon says that tried
	local rc=0
	rm -f "$T/thin/lazy-pages.socket"
	background daemon "$T/bin/criu" lazy-pages -D "$T/thin" --page-server --address "${host:-127.0.0.1}" --port "$2" "${@:3}"
	wait "$daemon" || rc=$?
	[ "$rc" = 1 ] || fail "${*:2}: exit $rc: $(cat "$T/daemon.err")"
	grep -qF -- "$1" "$T/daemon.err" || fail "${*:2} does not say \"$1\": $(cat "$T/daemon.err")"
}

echo "--- out of what is stored"
workload --size 16M --rate 20
mkdir "$T/1" "$T/2"
criu dump -t "$subject" -D "$T/2" || fail "dump"
ended
left=$(/usr/bin/python3 tests/lib/thin_set.py "$T/2" "$T/thin")
[ "$left" -gt 4000 ] || fail "only $left pages of 16 MiB may come late"
background server "$BUILD/dray" page-server -D "$T/2" --lazy-pages
await 20 listens server
port=$(sed 's/.*://' "$T/server.out")
for layout in 24 32; do
	daemon "$T/thin" "$port" --ps-layout $layout
	restore "$T/thin"
	copy_right_and_ends
done
refuses 'does it speak TLS' "$port" --tls $(creds host-b)
kill "$server"
ended_well "$server" server
[ "$(grep -c 'session-served .*reason="closed"' "$T/server.err")" = 2 ] || fail "not two clients were served: $(cat "$T/server.err")"

echo "--- by TLS, under criu's name"
background server "$T/bin/criu" page-server --lazy-pages -D "$T/2" --address 127.0.0.1 --port 9001 --tls $(creds host-a)
await 20 listens server
daemon "$T/thin" 9001 --tls $(creds host-b)
restore "$T/thin"
copy_right_and_ends
ended_well "$server" server

echo "--- by TLS, any number of clients"
background server "$BUILD/dray" page-server -D "$T/2" --lazy-pages --address 0.0.0.0 $(creds host-a) --tls-allow host-b
await 20 listens server
port=$(sed 's/.*://' "$T/server.out")
host=127.0.0.2 refuses 'not of 127.0.0.2' "$port" --tls $(creds host-b)
refuses 'unable to get local issuer' "$port" --tls $(creds host-b other-ca)
daemon "$T/thin" "$port" --tls $(creds host-b)
restore "$T/thin"
copy_right_and_ends
refuses 'its CA did not sign it' "$port" --tls $(creds stranger) # learnt behind the handshake, as TLS 1.3 has it
refuses 'the name in it is not one that it lets in' "$port" --tls $(creds host-a)
kill "$server"
ended_well "$server" server

echo "--- a lazy dump by TLS"
workload --size 16M --rate 20
mkdir "$T/l"
background dump "$T/bin/criu" dump -t "$subject" -D "$T/l" --lazy-pages --address 127.0.0.1 --port 9002 --tls $(creds host-a) -v4
await 60 test -e "$T/l/inventory.img"
exec 9<> /dev/tcp/127.0.0.1/9002 # plain text
printf 'GET / HTTP/1.0' >&9 # no line feed: one write, for the first one is answered by hanging up
await 20 grep -q 'lazy-client-refused' "$T/dump.err"
exec 9>&-
daemon "$T/l" 9002 --tls $(creds host-b)
restore "$T/l"
copy_right_and_ends
ended_well "$dump" dump
ended
fails 1 '--tls wants --page-server' criu lazy-pages -D "$T/thin" --tls
fails 1 'no-such.pem' criu dump -t $$ -D "$T/1" --lazy-pages --tls --tls-cert "$T/no-such.pem"
echo "ok: pages come late out of stored images and by TLS"
