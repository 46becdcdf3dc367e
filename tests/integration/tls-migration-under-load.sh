#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Over TLS, a process that writes all the time moves, by each way that pages can leave it, every page right; and who listens in on the wire
# learns nothing, where without TLS they read along.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"; . "$here/../lib/tls.sh"
faults_begin without-agent
certs_make
overheard() { grep -q "^seen" "$T/overheard"; }
megabytes() { [ "$(awk '/^bytes/ { print int($2 / 1048576) }' "$T/overheard")" -ge "$1" ]; }
listen_in() {
	rm -f "$T/overheard"
	start a listener "$PYTHON" "$LIB/listen_in.py" "dv$$a" "$T/overheard" 'DRAY\r\n\x1a\n' 'DRF1\x01\x00'
	await 10 test -e "$T/overheard"
}
# move WHAT OPTION...
move() {
	local what=$1 rc=0
	shift
	listen_in
	subject_start --size 32M --rate 20
	migrate "$@" || rc=$?
	told_right "$rc" b
	await 10 megabytes 4
	end listener
	settled b
	report "moved $what"
}
agent_start b
move "in the clear" --extract copy --compress none
overheard || fail "the listener hears nothing where everything is in the clear"
agent_stop b || fail "the agent did not drain: $?"
tls_agent b
for how in "--extract splice" "--extract copy --compress lz4" "--streams 4 --verify"; do
	move "over TLS with $how" $(creds host-a) $how
	[ "$(field tls)" != none ] || fail "$how: in the clear"
	! overheard || fail "$how: on the wire was $(cat "$T/overheard")"
done
