#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Pages that come after a restore, between Debian's criu and us, each in each part: our lazy dump feeds criu's lazy-pages daemon, our daemon fetches from
# criu's lazy dump, and both ends are ours; criu restores. And we restore what criu's daemon brings, from our dump and from criu's. The program checks
# all its memory, from there and from its images.
. "$(dirname "$0")/../lib/vm.sh"
needs criu
in_vm 560
. tests/lib/vm_lazy.sh

our_dump() { # DIR PORT
	subject
	mkdir "$t/$1"
	"$BUILD/dray" dump -t "$pid" -D "$t/$1" --lazy-pages --port "$2" --shell-job > "$t/imager.out" 2> "$t/imager.err" &
	dump=$!
	await test -e "$t/$1/inventory.img"
}
crius_dump() { # DIR PORT
	subject
	mkdir "$t/$1"
	criu dump -t "$pid" -D "$t/$1" -o dump.log -v2 --shell-job --lazy-pages --port "$2" &
	dump=$!
	await listens "$2"
}
our_daemon() { # DIR PORT [OPTION...]
	"$BUILD/dray" lazy-pages -D "$t/$1" --page-server --address 127.0.0.1 --port "$2" "${@:3}" > "$t/feeder.out" 2> "$t/feeder.err" &
	daemon=$!
}
crius_daemon() { # DIR PORT
	criu lazy-pages --page-server --address 127.0.0.1 --port "$2" -D "$t/$1" -o lazy.log -v2 &
	daemon=$!
}

echo "--- our dump, criu's daemon"
subject
mkdir "$t/a"
"$BUILD/tests/programs/imager" "$pid" "dump,$t/a,lazy=9001" > "$t/imager.out" 2> "$t/imager.err" &
dump=$!
await test -e "$t/a/inventory.img"
crius_daemon a 9001
fed a "criu lazy-pages" "our dump"

echo "--- criu's dump, our daemon"
crius_dump b 9002
our_daemon b 9002
fed b "our daemon" "criu dump"

echo "--- ours and ours"
our_dump c 9003
our_daemon c 9003 --ps-layout 32
fed c "our daemon" "our dump"

restorer=$BUILD/dray
export DRAY_ENGINE=native
echo "--- our dump, criu's daemon, our restore"
our_dump d 9004
crius_daemon d 9004
fed d "criu lazy-pages" "our dump"

echo "--- criu's dump, criu's daemon, our restore"
crius_dump e 9005
crius_daemon e 9005
fed e "criu lazy-pages" "criu dump"
echo "ok"
