#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Pages that come after a restore, between Debian's criu and us: criu's lazy-pages daemon fetches from our page server, which has them stored; and by TLS
# from our lazy dump, our daemon from criu's lazy dump, with the kernel encrypting on our side. The program checks all its memory.
. "$(dirname "$0")/../lib/vm.sh"
needs criu openssl
in_vm 560
. tests/lib/vm_lazy.sh

certificates
crius_daemon() { # DIR PORT [OPTION...]
	criu lazy-pages --page-server --address 127.0.0.1 --port "$2" -D "$t/$1" -o lazy.log -v4 "${@:3}" &
	daemon=$!
}

echo "--- our stored images, criu's daemon"
subject
mkdir "$t/s"
"$BUILD/dray" dump -t "$pid" -D "$t/s" --shell-job > "$t/dump.out" 2> "$t/dump.err"
cp -r "$t/s" "$t/a"
"$BUILD/dray" page-server --once --lazy-pages -D "$t/s" --port 9001 > "$t/server.out" 2> "$t/server.err" &
dump=$!
await grep -q listening "$t/server.out"
crius_daemon a 9001
fed a "criu lazy-pages" "our page server"
grep -q 'session-served .*pages=[1-9][0-9][0-9][0-9]' "$t/server.err" || fail "nothing was fetched: $(cat "$t/server.err")"

echo "--- our dump by TLS, criu's daemon"
subject
mkdir "$t/c"
ln -s "$BUILD/dray" "$t/criu"
DRAY_ENGINE=native "$t/criu" dump -t "$pid" -D "$t/c" --lazy-pages --address 127.0.0.1 --port 9003 --shell-job -v4 --tls $(creds host-a) > "$t/imager.out" 2> "$t/imager.err" &
dump=$!
await test -e "$t/c/inventory.img"
crius_daemon c 9003 --tls $(creds host-b)
fed c "criu lazy-pages" "our dump"

echo "--- criu's dump by TLS, our daemon"
subject
mkdir "$t/d"
criu dump -t "$pid" -D "$t/d" -o dump.log -v4 --shell-job --lazy-pages --address 127.0.0.1 --port 9004 --tls $(creds host-a) &
dump=$!
await listens 9004
"$t/criu" lazy-pages -D "$t/d" --page-server --address 127.0.0.1 --port 9004 --tls $(creds host-b) > "$t/feeder.out" 2> "$t/feeder.err" &
daemon=$!
fed d "our daemon" "criu dump"
grep -q "^TlsTxSw[[:space:]]*2$" /proc/net/tls_stat || fail "the kernel did not encrypt our two ends: $(tr '\n' ' ' < /proc/net/tls_stat)"
echo "ok"
