# SPDX-License-Identifier: Apache-2.0
# rpc.sh - an RPC service in a directory of its own, for tests whose body is a Python client (tests/lib/rpc_client.py). Sourced.
#
#   service_start [OPTION...]   `dray service` on $T/rpc.sock, ready when this returns; service_stop ends it
#   client < SCRIPT             runs Python with rpc_client's names, $T as its directory; arguments go along. $BEFORE: a line in front
#   fail TEXT                   ends the test
# Everything is gone at the end, however it ends.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export BUILD=${BUILD:-$here/build}
export DRAY=$BUILD/dray
export PYTHONDONTWRITEBYTECODE=1
export DRAY_ENGINE=native # whatever is installed here
PYTHON=/usr/bin/python3 # Debian's, for which python3-protobuf is
"$PYTHON" -c 'import google.protobuf' 2> /dev/null || { echo "python3-protobuf is not installed"; exit 77; }
export T
T=$(mktemp -d)
service=
fail() { echo "$*" >&2; exit 1; }
service_start() {
	mkfifo "$T/ready"
	"$DRAY" service --address "$T/rpc.sock" --log-file "$T/service.log" "$@" > "$T/ready" &
	service=$!
	read -r _ < "$T/ready" || fail "the service did not start"
	rm "$T/ready"
}
service_stop() {
	[ -z "$service" ] || { kill "$service" 2> /dev/null; wait "$service"; }
	service=
}
at_end() {
	local rc=$?
	service_stop
	[ "$rc" = 0 ] || [ ! -s "$T/service.log" ] || tail -n 20 "$T/service.log" >&2
	rm -rf "$T"
	exit "$rc"
}
trap at_end EXIT
trap 'exit 130' INT TERM
client() {
	{ echo "${BEFORE:-}"; echo 'from rpc_client import *; T = os.environ["T"]'; cat; } > "$T/client.py"
	PYTHONPATH=$here/tests/lib "$PYTHON" "$T/client.py" "$@"
}
