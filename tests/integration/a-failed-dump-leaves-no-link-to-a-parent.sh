#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A dump that fails takes the link to its parent away again, wherever its pages went: what is dumped into that directory next builds on the parent that
# is asked for then. A link that was there before is the caller's, and stays. The process runs on.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
mkdir "$T/0" "$T/1" "$T/2" "$T/own" "$T/far"
ln -s ../1 "$T/own/parent"
printf '#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-dump ]\n' > "$T/refuse"
chmod 755 "$T/refuse"
no_set() { # DIR
	[ ! -e "$T/$1/inventory.img" ] || fail "$1: a set was left"
	[ ! -L "$T/$1/parent" ] || fail "$1: a link to $(readlink "$T/$1/parent") was left"
}

workload
criu pre-dump -t "$subject" -D "$T/0" || fail "pre-dump"
criu pre-dump -t "$subject" -D "$T/1" --prev-images-dir ../0 || fail "pre-dump over a pre-dump"
fails 1 'ended with 1' criu dump -t "$subject" -D "$T/2" --prev-images-dir ../0 --track-mem --action-script "$T/refuse"
no_set 2
fails 1 'ended with 1' criu dump -t "$subject" -D "$T/own" --prev-images-dir ../1 --track-mem --action-script "$T/refuse"
[ "$(readlink "$T/own/parent")" = ../1 ] || fail "the caller's own link is gone"

mkdir "$T/server"
"$BUILD/dray" page-server -D "$T/server" --session-pages 8 > "$T/server.out" 2> "$T/server.err" < /dev/null &
server=$!
subjects+=("$server")
await 20 grep -q listening "$T/server.out"
fails 1 'session-pages' criu dump -t "$subject" -D "$T/far" --prev-images-dir ../1 --track-mem --page-server --address 127.0.0.1 \
	--port "$(sed 's/.*://' "$T/server.out")"
no_set far

workload_right
criu dump -t "$subject" -D "$T/2" --prev-images-dir ../1 --track-mem || fail "dump"
ended
[ "$(readlink "$T/2/parent")" = ../1 ] || fail "it builds on $(readlink "$T/2/parent")"
criu restore -D "$T/2" -d || fail "restore"
workload_right
echo "ok: no link is left behind"
