#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Where the kernel does TLS, it does a page server's: a native session of ours is encrypted and decrypted by it, not by relays, goes on with words on
# errors and refusals, may have several connections, which come again when they are cut, and what it published is restored with its memory right. Forbidden on either side, that side has a relay and the other doesn't care. What is not data
# on such a socket is understood, seen from an OpenSSL peer (tests/unit/tls_kernel.c).
. "$(dirname "$0")/../lib/vm.sh"
needs criu openssl python3
not_sanitized
in_vm 560
. tests/lib/vm_workload.sh
fail() { echo "FAILED: $*"; tail -n 20 "$t"/*.out "$t"/*.err "$t"/*/log 2> /dev/null; exit 1; }
mkdir "$t/home"
certificates
export HOME=$t/home DRAY_ENGINE=native
ln -s "$BUILD/dray" "$t/criu"
stock=$(command -v criu)
modprobe tls
kernel_does() { # what the kernel encrypts and decrypts of what COMMAND... does, as "connections:connections"
	local tx rx
	tx=$(awk '$1 == "TlsTxSw" { print $2 }' /proc/net/tls_stat)
	rx=$(awk '$1 == "TlsRxSw" { print $2 }' /proc/net/tls_stat)
	"$@" || return
	did=$(awk -v tx="$tx" -v rx="$rx" '$1 == "TlsTxSw" { a = $2 - tx } $1 == "TlsRxSw" { b = $2 - rx } END { print a ":" b }' /proc/net/tls_stat)
}

"$BUILD/tests/unit/tls_kernel" > "$t/unit.out" 2>&1 || fail "tls_kernel"
! grep -q SKIPPED "$t/unit.out" || fail "the kernel took none of its connections"
echo "ok: what is no data is understood"

server_start() { # NUMBER OPTION...: publishes in s-NUMBER
	mkdir "$t/s$1"
	: > "$t/server.out"
	"$BUILD/dray" page-server -D "$t/s$1" $(creds host-a) "${@:2}" > "$t/server.out" 2>> "$t/server.err" &
	server=$!
	await grep -q listening "$t/server.out"
	port=$(sed 's/.*://' "$t/server.out")
}
server_stop() { kill "$server"; wait "$server" || fail "the page server ended with $?"; }
send() { # VERB ROUND OPTION...
	mkdir -p "$t/r$2"
	"$t/criu" "$1" -t "$subject" -D "$t/r$2" -o log -v4 --shell-job --track-mem --page-server --address 127.0.0.1 --port "$port" --tls "${@:3}"
}
session() { grep 'session-published' "$t/server.err" | tail -n 1; }

echo 20000 > /proc/sys/kernel/ns_last_pid
subject_start --size 4M --rate 0.2 --pattern uniform --data heap --threads 2
published=0
# round NUMBER WHO-DECRYPTS WHO-ENCRYPTS CONNECTIONS VERB OPTION...
round() {
	kernel_does send "$5" "$1" $(creds host-b) "${@:6}" || fail "round $1"
	[ "$did" = "$4:$4" ] || fail "round $1: the kernel did $did connections, not $4"
	published=$((published + 1))
	await sh -c "[ \$(grep -c session-published '$t/server.err') = $published ]"
	session | grep -q "native=1 tls=$2 " || fail "round $1: $(session)"
	grep -q "page-server ours=1 header=32 tls=$3 name=\"host-a\"" "$t/r$1/log" || fail "round $1: $(grep page-server "$t/r$1/log")"
}
last() { ls -d "$t/s$1"/* | sort -V | tail -n 1; }

server_start 1 --chain
round 1 kernel kernel 4 pre-dump --streams 2
! send dump no --tls $(creds stranger) > /dev/null 2> "$t/refused.err" || fail "a stranger was let in"
grep -q 'its CA did not sign it' "$t/refused.err" || fail "a stranger is not told why: $(cat "$t/refused.err")"
DRAY_KTLS=0 round 2 kernel relay 1 pre-dump --prev-images-dir ../r1
server_stop

# Each connection is reset once it has carried 3 MiB; what it carried is encrypted by the kernel, so the wire knows nothing of it.
server_start 5
python3 tests/lib/cutter.py 127.0.0.1:7493 "127.0.0.1:$port" each $((3 << 20)):all > "$t/cutter.out" 2>&1 &
cutter=$!
await grep -q '^ready' "$t/cutter.out"
port=7493
kernel_does send pre-dump cut $(creds host-b) || fail "through a wire that breaks"
grep -q '^cut' "$t/cutter.out" || fail "nothing was cut"
published=$((published + 1))
await sh -c "[ \$(grep -c session-published '$t/server.err') = $published ]"
session | grep -q 'native=1 tls=kernel ' || fail "cut: $(session)"
[ "${did%:*}" -gt 2 ] || fail "no connection came again by the kernel's TLS: $did"
kill "$cutter"
wait "$cutter" 2> /dev/null || true
server_stop
echo "ok: cut and gone on, ${did%:*} ends of connections"
server_start 2 --session-bytes 64K
! send dump no $(creds host-b) > /dev/null 2> "$t/refused.err" || fail "more was taken than is allowed"
grep -q "the session's pages exceed the 65536 bytes allowed" "$t/refused.err" || fail "the server's words are lost: $(cat "$t/refused.err")"
right "$subject"
server_stop
export DRAY_KTLS=0
server_start 3 --prev-images-dir "../../s1/$(basename "$(last 1)")"
unset DRAY_KTLS
round 3 relay kernel 1 pre-dump --prev-images-dir ../r2
server_stop
echo "ok: who may not encrypt does not"

server_start 4 --prev-images-dir ../../s3/1
round 4 kernel kernel 2 dump --prev-images-dir ../r3
server_stop
cp -n "$t"/r4/*.img "$(last 4)/"
await gone "$subject"
"$stock" restore -D "$(last 4)" -o "$t/restore.err" -v4 --shell-job -d || fail "restore"
right "$subject"
kill "$subject"
echo "ok: a native session by the kernel's TLS, restored"
