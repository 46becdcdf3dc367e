# SPDX-License-Identifier: Apache-2.0
# page_server.sh - a page server for shell tests to source: no hosts, loopback only. $T: the test's own directory, $IMAGES: where sets go.
#
#   server_start [OPTION...]     starts it and awaits its readiness; its pid in $server, its port in $port, its log in $T/log
#   server_stop                  SIGTERM; fails the test unless it ends with 0
#   sender                       runs a Python program from standard input that has ps_sender's names; IMAGES, PORT, SERVER (its pid) and T in the environment
#   metrics_address              where --metrics is served, from the log
#   await SECONDS CMD...         until CMD succeeds
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DRAY=${BUILD:-$root/build}/dray
T=$(mktemp -d "${TMPDIR:-/tmp}/dray-test.XXXXXX") || exit 1
IMAGES=$T/images
mkdir "$IMAGES"
server=
fail() { echo "FAILED: $*" >&2; [ ! -e "$T/log" ] || tail -n 20 "$T/log" >&2; exit 1; }
skip() { echo "$*"; exit 77; }
server_end() {
	[ -z "$server" ] || { kill -TERM "$server"; kill -TERM "$server"; wait "$server"; } 2> /dev/null
	for m in ${mounts:-}; do umount "$m"; done
	rm -rf "$T"
}
trap server_end EXIT
trap 'exit 143' TERM INT
await() {
	local end=$((${EPOCHREALTIME/./} + $1 * ${SLOWNESS:-5} * 1000000)) # a loaded machine is slow
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || fail "never came true: $*"
		sleep 0.02
	done
}
server_start() {
	: > "$T/out" # what the server before said must not be taken for this one's
	"$DRAY" page-server -D "$IMAGES" "$@" > "$T/out" 2>> "$T/log" < /dev/null &
	server=$!
	await 20 grep -q listening "$T/out"
	port=$(sed 's/.*://' "$T/out")
}
server_stop() {
	local rc=0
	kill -TERM "$server"
	wait "$server" || rc=$?
	server=
	[ "$rc" = 0 ] || fail "the server ended with $rc"
}
sender() {
	{ echo "from ps_sender import *"; cat; } > "$T/sender.py"
	env IMAGES="$IMAGES" PORT=${port:-0} SERVER="$server" T="$T" PYTHONPATH="$root/tests/lib" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$T/sender.py" ||
		fail "the sender"
}
nothing_published() { [ -z "$(find "$IMAGES" -mindepth 1)" ]; }
# Where a port of its own choice was taken: the log says which.
metrics_address() { sed -n 's/.* metrics address=//p' "$T/log" | tail -n 1; }
