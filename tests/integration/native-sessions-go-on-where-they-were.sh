#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Dumps into our page server whose connections are reset over and over, with one, two and four of them, and by TLS, in rounds and at the end: each is made anew and goes on where
# it was, also where none lasts as long as a frame takes, the set is published once and whole, restored from it the process is right. No session or directory is left of connections that were others'.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
LIB=tests/lib
skip() { echo "$*"; exit 77; }
. tests/lib/images.sh
. tests/lib/criu.sh
server=''
cutter=''
end() { for p in $server $cutter; do kill "$p" 2> /dev/null || true; done; finish_images; }
trap end EXIT
server_start() {
	: > "$T/server.out"
	"$BUILD/dray" page-server -D "$T/sets" "$@" > "$T/server.out" 2>> "$T/server.log" < /dev/null &
	server=$!
	await 20 grep -q listening "$T/server.out"
	port=$(sed 's/.*://' "$T/server.out")
}
# BYTES that a connection lasts
cutter_start() {
	: > "$T/cutter.out" # what the one before said must not be taken for this one's
	/usr/bin/python3 tests/lib/cutter.py 127.0.0.1:0 "127.0.0.1:$port" each "$1:all" > "$T/cutter.out" 2> "$T/cutter.err" < /dev/null &
	cutter=$!
	await 20 grep -q ready "$T/cutter.out"
	wire=$(sed -n 's/^ready //p' "$T/cutter.out")
}
cutter_stop() { kill "$cutter"; wait "$cutter" 2> /dev/null || true; cutter=; }
send() { # VERB DIR [OPTION...]
	mkdir "$T/$2"
	criu "$1" -t "$subject" -D "$T/$2" -v4 --track-mem --page-server --address 127.0.0.1 --port "$wire" "${@:3}" > "$T/send.out" 2> "$T/send.err" ||
		fail "$1 $2: $(tail -n 40 "$T/server.log"; tail -n 12 "$T/send.err")"
}
published() { [ "$(grep -c 'session-published.* native=1' "$T/server.log")" = "$1" ]; }
server_stop() { kill "$server"; wait "$server" || fail "the server: $?"; server=; }
mkdir "$T/sets"
server_start --chain
sets=0
# moved NAME SIZE BYTES-OF-A-CONNECTION STREAMS [OPTION...]
moved() {
	local name=$1 size=$2 lasts=$3 streams=$4 set
	shift 4
	workload --size "$size" --pattern uniform
	cutter_start "$lasts"
	send pre-dump "a$name" --streams $streams --ps-protocol native "$@"
	workload_right
	send dump "b$name" --streams $streams --ps-protocol native --prev-images-dir "../a$name" "$@"
	ended
	await 20 grep -q '^cut' "$T/cutter.out"
	cutter_stop
	grep -q 'stream-again' "$T/server.log" || fail "nothing came again: $(cat "$T/server.log")"
	sets=$((sets + 2))
	await 20 published $sets
	set=$(ls -d "$T"/sets/* | sort -V | tail -n 1)
	cp -n "$T/b$name"/*.img "$set/"
	criu restore -d -D "$set" > "$T/restore.out" 2>&1 || fail "restore: $(cat "$T/restore.out")"
	workload_right
	kill -KILL "$subject"
	ended
	echo "ok: $name: $(grep -c 'stream-again' "$T/server.log") connections so far"
}
for streams in 1 2 4; do
	moved $streams 24M $((3 << 20)) $streams
done
moved short-1 5M 300000 1
moved short-2 5M 500000 2
alone() { [ "$(ls "$T/sets" | wc -l)" = $sets ]; }
await 20 alone || fail "beside the sets: $(ls "$T/sets")"

. tests/lib/tls.sh
certs_make
server_stop
: > "$T/server.log"
rm -rf "$T/sets"/*
sets=0
server_start --chain $(creds host-a) --tls-allow host-b
moved by-tls-1 24M $((3 << 20)) 1 --tls $(creds host-b)
moved by-tls-3 24M $((3 << 20)) 3 --tls $(creds host-b)
moved by-tls-short 3M 400000 1 --tls $(creds host-b)
await 20 alone || fail "beside the sets: $(ls "$T/sets")"
