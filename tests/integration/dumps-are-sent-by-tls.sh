#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# criu's pre-dump and dump with --tls, natively into our page server, and restored from there: memory right; what the server has against a set is said in its words.
# A server of another name, of another authority, one that does not let us in, one without TLS, and TLS that only the server has end the dump in words while the process
# runs on; what can't be together is refused.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
LIB=tests/lib
skip() { echo "$*"; exit 77; }
[ -x "$BUILD/subjects/workload" ] || skip "subjects are not built"
. tests/lib/images.sh
. tests/lib/criu.sh
. tests/lib/tls.sh
certs_make
server=
server_start() {
	server_stop
	: > "$T/server.out"
	"$BUILD/dray" page-server -D "$T/server" "$@" > "$T/server.out" 2>> "$T/server.log" < /dev/null &
	server=$!
	await 20 grep -q listening "$T/server.out"
	port=$(sed 's/.*://' "$T/server.out")
}
server_stop() { [ -z "$server" ] || { kill "$server"; wait "$server" || fail "the server: $?"; }; server=; }
end() { [ -z "$server" ] || kill "$server" 2> /dev/null || true; finish_images; }
trap end EXIT
send() { criu "$1" -t "$subject" -D "$T/$2" --track-mem --page-server --address "${host:-127.0.0.1}" --port "$port" "${@:3}"; }
refused() { # WORDS OPTION...
	mkdir -p "$T/no"
	host=${host:-} fails 1 "$1" send dump no "${@:2}"
	workload_right
}
mkdir "$T/server" "$T/r1" "$T/r2"
workload

server_start --address 0.0.0.0 $(creds host-a) --tls-allow host-b
refused 'speaks TLS and nothing else'
refused 'its CA did not sign it' --tls $(creds stranger)
refused 'the name in it is not one that it lets in' --tls $(creds host-a)
refused 'unable to get local issuer' --tls $(creds host-b other-ca)
host=127.0.0.2 refused 'not of 127.0.0.2' --tls $(creds host-b)
refused 'no-such.pem' --tls --tls-cert "$T/no-such.pem"
fails 1 'exclude each other' criu dump -t "$subject" -D "$T/no" --page-server --ps-socket 0 --tls $(creds host-b)
for lazy in '' --lazy-pages; do
	fails 1 'exclude each other' criu page-server -D "$T/no" $lazy --ps-socket 0 --tls $(creds host-b)
done
nothing_stays() { [ -z "$(ls "$T/server")" ]; } # a session's directory goes when it has ended, which who was refused does not wait for
await 20 nothing_stays

send pre-dump r1 --tls $(creds host-b) || fail "pre-dump"
workload_right
send dump r2 --tls $(creds host-b) --prev-images-dir ../r1 || fail "dump"
ended
server_stop
grep -c 'session-published .*native=1 .*name="host-b"' "$T/server.log" | grep -qx 2 || fail "not two native sets: $(cat "$T/server.log")"
set=$(ls -d "$T"/server/* | sort -V | tail -n 1)
cp -n "$T"/r2/*.img "$set/"
rm -f "$set/parent"
criu restore -d -D "$set" || fail "restore"
workload_right

server_start --session-bytes 1M $(creds host-a)
refused "the session's pages exceed the 1048576 bytes allowed" --tls $(creds host-b)
server_start
refused 'does it speak TLS' --tls $(creds host-b)
echo "ok: dumped by TLS, restored"
