#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Rounds through page servers, each by a caller of its own, as runtimes make them: what did not change is left to the set before, by criu's way (a server for each
# round, with the directory before) and by --chain; the last set is restored and its memory right. A server that does not have the set before is sent everything.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
[ "$(id -u)" = 0 ] || { echo "not root"; exit 77; }
. tests/lib/images.sh
. tests/lib/criu.sh
server=
server_start() {
	: > "$T/server.out"
	"$BUILD/dray" page-server "$@" > "$T/server.out" 2>> "$T/server.log" < /dev/null &
	server=$!
	await 20 grep -q listening "$T/server.out"
	port=$(sed 's/.*://' "$T/server.out")
}
end() { [ -z "$server" ] || kill "$server" 2> /dev/null || true; finish_images; }
trap end EXIT
send() { # VERB ROUND [OPTION...]
	mkdir "$T/$2"
	criu "$1" -t "$subject" -D "$T/$2" --track-mem --page-server --address 127.0.0.1 --port "$port" "${@:3}" > "$T/send.out" 2>&1 || fail "$1 $2: $(cat "$T/send.out")"
}
once() { # VERB ROUND DIR [the round before, its DIR]
	mkdir "$T/$3"
	server_start -D "$T/$3" --once ${5:+--prev-images-dir "../$5"}
	send "$1" "$2" ${4:+--prev-images-dir "../$4"}
	wait "$server" || fail "the server of $2: $?"
	server=
}
sent() { grep session-published "$T/server.log" | tail -n 1 | sed "s/.* $1=\([0-9]*\).*/\1/"; }
mostly_left() {
	[ "$(sent pages)" -lt $((whole / 2)) ] || fail "$1: $(sent pages) of $whole pages were sent"
	[ $(($(sent pages) + $(sent in-parent))) -ge $((whole / 2)) ] || fail "$1: only $(sent pages) and $(sent in-parent) of $whole pages"
}
restored() { # SET IMAGES
	ended
	cp "$T/$2"/*.img "$1/"
	criu restore -d -D "$1" > "$T/restore.out" 2>&1 || fail "restore: $(cat "$T/restore.out")"
	workload_right
	kill -KILL "$subject"
	ended
}

workload --rate 0.2
once pre-dump a1 s1
whole=$(sent pages)
ls "$T"/trackers/* > /dev/null 2>&1 || { echo "no tracker on this kernel"; exit 77; }
once pre-dump a2 s2 a1 s1
mostly_left "the second round"
once dump a3 s3 a2 s2
mostly_left "the dump"
restored "$T/s3" a3
echo "ok: a server for each round: $whole pages, then $(sent pages)"

mkdir "$T/chain"
server_start -D "$T/chain" --chain --flat
workload --rate 0.2
send pre-dump b1
send pre-dump b2 --prev-images-dir ../b1
mostly_left "the second round of a chain"
send dump b3 --prev-images-dir ../b2
mostly_left "the dump of a chain"
kill "$server"; wait "$server" || fail "the server: $?"
server=
restored "$T/chain/3" b3
echo "ok: --chain"

workload --rate 0.2
once pre-dump c1 t1
once dump c2 t2 c1
[ "$(sent pages)" -ge $((whole / 2)) ] && [ "$(sent in-parent)" = 0 ] || fail "a server without the set before: $(sent pages), $(sent in-parent)"
rm "$T/c2/parent"
restored "$T/t2" c2
echo "ok: a server that does not have the set before is sent everything"
