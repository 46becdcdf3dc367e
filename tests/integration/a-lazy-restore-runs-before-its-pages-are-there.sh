#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dump --lazy-pages, the lazy-pages daemon and restore --lazy-pages, all ours: a process that writes all the time, and redis-server, run before their pages
# are there and have the right ones. Pages that are in the images need no source. A source that is lost leaves the process standing where it needs a page:
# it never reads zeros, and the daemon says why. A restore without a daemon, or whose daemon ends, fails and leaves nothing.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
[ -x "$BUILD/subjects/workload" ] || { echo "subjects are not built"; exit 77; }
# The port is nobody else's.
[ -n "${IN_NET:-}" ] || exec unshare --net env IN_NET=1 "$PWD/tests/integration/$(basename "$0")"
ip link set lo up
. tests/lib/images.sh
. tests/lib/criu.sh
dray() { "$BUILD/dray" "$@"; }

# The original stands still while its copy runs, so the copy is in namespaces of its own.
restore() { # DIR [OPTION...]
	local dir=$1
	shift
	rm -f "$T/report" "$T/copy.err"
	# shellcheck disable=SC2016
	setsid unshare --pid --net --mount --fork --mount-proc --kill-child=KILL sh -c 'ip link set lo up && exec "$@"' sh \
		"$BUILD/dray" restore -D "$dir" --lazy-pages "$@" < /dev/null > "$T/copy.out" 2> "$T/copy.err" &
	restorer=$!
	subjects+=("$restorer")
}
child_of() { local c; c=$(cat "/proc/$1/task/$1/children" 2> /dev/null) || return 1; set -- $c; echo "${1:-}"; }
copy_is_there() { local p; p=$(child_of "$restorer") && [ -n "$p" ] && copy=$(child_of "$p") && [ -n "$copy" ]; }
copy_runs() { await 60 copy_is_there; }
ended_well() { wait "$1" || fail "$2 ended with $?: $(tail -n 5 "$T/$2.err")"; }
gone() { ! kill -0 "$1" 2> /dev/null; }
copy_right() {
	kill -USR1 "$copy" || fail "the copy is gone: $(cat "$T/copy.err")"
	await 120 test -s "$T/report"
	grep -q '"verdict":"right"' "$T/report" || fail "its memory is wrong: $(cat "$T/report")"
}
copy_ends() {
	kill -KILL "$copy"
	await 20 gone "$restorer"
	wait "$restorer" || true
}
# Dumps $subject into DIR with its pages left, and waits until they are served.
dump() {
	mkdir "$1"
	dray dump -t "$subject" -D "$1" --lazy-pages --port 9001 -o dump.log -v4 2> "$T/dump.err" &
	dump=$!
	subjects+=("$dump")
	await 60 test -e "$1/inventory.img"
}
daemon() { # DIR [OPTION...]
	dray lazy-pages -D "$@" -o lazy.log -v4 2> "$T/daemon.err" &
	daemon=$!
	subjects+=("$daemon")
	await 20 test -S "$1/lazy-pages.socket"
}
from_dump() { daemon "$1" --page-server --address 127.0.0.1 --port 9001; }

echo "--- a process that writes all the time"
for layout in 24 32; do
	workload --size 32M --rate 50
	dump "$T/w$layout"
	daemon "$T/w$layout" --page-server --address 127.0.0.1 --port 9001 --ps-layout "$layout"
	restore "$T/w$layout" -o restore.log -v4
	copy_runs
	copy_right
	ended_well "$daemon" daemon
	ended_well "$dump" dump
	ended
	copy_right
	copy_ends
done
