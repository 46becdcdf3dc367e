#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Data connections that are reset over and over, in rounds and in the freeze, by each way that pages can leave the process, with and without
# TLS, also where none lasts as long as a frame takes: they are made anew, nothing is lost, nothing old comes behind what is new, the migration succeeds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"; . "$here/../lib/tls.sh"
RECORDS=1
faults_begin without-agent
is_ready() { grep -q '^ready' "$T/cutter.out"; }
# move WHAT OPTION...: through a wire on which a data connection lasts LASTS bytes
LASTS=$((3 << 20)) SIZE=24M
move() {
	local what=$1 rc=0
	shift
	start b cutter "$PYTHON" "$LIB/cutter.py" "${host_addr[b]}:7472" "${host_addr[b]}:$PORT" each "$LASTS"
	await 20 is_ready
	subject_start --size "$SIZE" --rate 20
	# The limit is for slow machines: in the freeze it is also how long a stream may take to come back.
	TO=${host_addr[b]}:7472 migrate --verify --downtime-limit 60000 --reconnect-timeout 60000 "$@" || rc=$?
	[ "$rc" = 0 ] || cat "$T/migrate.err" >&2
	told_right "$rc" b
	await 10 grep -q '^cut' "$T/cutter.out"
	[ "$(field reconnections)" -ge 1 ] || fail "$what: reconnections=$(field reconnections)"
	end cutter
	settled b
	report "moved $what"
}
agent_start b
move "by splicing, one stream" --extract splice --streams 1
move "by splicing, four streams" --extract splice --streams 4
move "by copying with lz4, one stream" --extract copy --compress lz4 --streams 1
move "by copying, four streams" --extract copy --compress none --streams 4
move "all in the freeze, by splicing" --tracker none --extract splice --streams 2
move "all in the freeze, by copying" --tracker none --extract copy --compress none --streams 2
LASTS=300000 SIZE=6M
move "by splicing, on connections shorter than a frame" --tracker none --extract splice --streams 1
move "by copying, on connections shorter than a frame" --tracker none --extract copy --compress none --streams 2
LASTS=$((3 << 20)) SIZE=24M
agent_stop b || fail "the agent did not drain: $?"
certs_make
tls_agent b
move "over TLS, by splicing" $(creds host-a) --extract splice --streams 2
move "over TLS, by copying" $(creds host-a) --extract copy --streams 2
