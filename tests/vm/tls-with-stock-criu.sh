#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# By TLS, mutual: Debian's criu pre-dumps twice and dumps into our page server and restores from there; and we pre-dump and dump into page servers of
# Debian's criu, which restores from what they wrote. The process that moves finds its memory right each time. On our side the kernel encrypts and decrypts.
. "$(dirname "$0")/../lib/vm.sh"
needs criu openssl
in_vm 560
. tests/lib/vm_workload.sh
fail() { echo "FAILED: $*"; tail -n 20 "$t"/*.log "$t"/*.err "$t"/*/*log 2> /dev/null; exit 1; }
certificates
ln -s "$BUILD/dray" "$t/criu"
stock=$(command -v criu)

# What the kernel has seen of TLS: connections that it encrypts, that it decrypts, and records that it could not decrypt.
tls_stat() { awk -v name="$1" '$1 == name { print $2 }' /proc/net/tls_stat; }
modprobe tls
kernel_took() { # CONNECTIONS since the boot
	[ "$(tls_stat TlsTxSw):$(tls_stat TlsRxSw):$(tls_stat TlsDecryptError)" = "$1:$1:0" ] ||
		fail "the kernel has not done $1 connections: $(tr '\n' ' ' < /proc/net/tls_stat)"
}

echo 20000 > /proc/sys/kernel/ns_last_pid
workload="--size 4M --rate 0.2 --pattern uniform --data heap --threads 2"
restored() { # IMAGES
	await gone "$subject"
	"$stock" restore -D "$1" -o "$t/restore.log" -v4 --shell-job -d || fail "restore"
	right "$subject"
}

subject_start $workload
mkdir "$t/server"
"$BUILD/dray" page-server -D "$t/server" --chain --tls $(creds host-a) --tls-allow host-b > "$t/server.out" 2> "$t/server.err" &
server=$!
await grep -q listening "$t/server.out"
port=$(sed 's/.*://' "$t/server.out")
theirs() { # VERB ROUND [OPTION...]
	mkdir "$t/r$2"
	"$stock" "$1" -t "$subject" -D "$t/r$2" -o "$t/r$2/log" -v4 --shell-job --track-mem --page-server --address 127.0.0.1 --port "$port" \
		--tls $(creds host-b) "${@:3}" || fail "stock $1, round $2"
}
theirs pre-dump 1
theirs pre-dump 2 --prev-images-dir ../r1
theirs dump 3 --prev-images-dir ../r2
kill "$server"
wait "$server" || fail "the page server ended with $?"
grep -c 'session-published .*tls=kernel .*name="host-b"' "$t/server.err" | grep -qx 3 || fail "not three sessions were published"
kernel_took 3
cp "$t"/r3/*.img "$t/server/3/"
restored "$t/server/3"
kill "$subject"
echo "ok: stock criu sent by TLS"

ours() { # VERB ROUND [OPTION...]: a stock server for it, then our sender
	local port=$((7400 + $2))
	mkdir "$t/sent-$2" "$t/got-$2"
	"$stock" page-server -d -D "$t/got-$2" --address 127.0.0.1 --port $port -o "$t/got-$2/log" -v4 --pidfile "$t/server-$2" --tls $(creds host-a) \
		${3:+--prev-images-dir "../got-$(($2 - 1))"} || fail "the stock server"
	"$t/criu" "$1" -t "$subject" -D "$t/sent-$2" -o "$t/sent-$2/log" -v4 --shell-job --track-mem --page-server --address 127.0.0.1 --port $port \
		--tls $(creds host-b) ${3:+--prev-images-dir "../sent-$(($2 - 1))"} || fail "$1, round $2"
	await gone "$(cat "$t/server-$2")"
	ls "$t/got-$2/pagemap-$subject.img" > /dev/null || fail "the stock server wrote no page map"
}
subject_start $workload # another: what criu restored is in a time namespace, which we leave to it
ours pre-dump 1
ours dump 2 parent
kernel_took 5
cp -n "$t"/sent-2/*.img "$t/got-2/"
restored "$t/got-2"
kill "$subject"
echo "ok: we sent by TLS to stock criu"
