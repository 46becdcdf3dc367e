#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A stream that is cut and can't be connected again, or may not be, ends the migration: the source runs on, the destination is clean. And
# nobody takes a stream's place who was not told the token, with the right id either.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
is_ready() { grep -q '^ready' "$T/cutter.out"; }
# stays WHAT WORD HOW OPTION...
stays() {
	local what=$1 word=$2 how=$3 rc=0
	shift 3
	start b cutter "$PYTHON" "$LIB/cutter.py" "${host_addr[b]}:7472" "${host_addr[b]}:$PORT" each "$how"
	await 20 is_ready
	subject_start --size 24M --rate 20
	TO=${host_addr[b]}:7472 migrate "$@" || rc=$?
	told_right "$rc" a
	said "$word"
	end cutter
	settled a
	report "$what"
}
stays "cut for good: runs on a" "could not be made again" $((2 << 20)):once --extract copy --reconnect-timeout 1000
stays "cut for good, spliced: runs on a" "could not be made again" $((2 << 20)):once --extract splice --reconnect-timeout 1000
stays "cut for good in the freeze: runs on a" "could not be made again" $((2 << 20)):once --tracker none --downtime-limit 500
stays "cut before any frame is through: runs on a" "nothing gets there any more|could not be made again" 5000 --reconnect-timeout 3000
stays "cut before any frame is through, in the freeze: runs on a" "nothing gets there any more|could not be made again" 5000 --tracker none --downtime-limit 1000
stays "not to be connected again: runs on a" "cut the connection" $((2 << 20)) --reconnect-timeout 0

# A stranger with the id but not the token, inside the first round, for which the source is stopped.
subject_start
migrate_start --max-bandwidth 2M --max-rounds 2
await 20 event_seen round-begin
kill -STOP "${pid[migrate]}"
id=$(migration_id)
cat > "$T/stranger.py" <<'PY'
import socket, struct, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.settimeout(60)
s.sendall(struct.pack("<8sHBBIQ16sII16s", b"DRAY\r\n\x1a\n", 1, 6, 0, 0, 31, bytes.fromhex(sys.argv[3]), 1024, 1 << 25, b"\1" * 16))
answer = b""
while len(answer) < 64:
    part = s.recv(64 - len(answer))
    assert part, "no answer"
    answer += part
assert answer[11] == 4, "status %d" % answer[11]
assert s.recv(1) == b"", "it goes on"
print("refused")
PY
start a stranger "$PYTHON" "$T/stranger.py" "${host_addr[b]}" "$PORT" "$id"
finish stranger || fail "the stranger was not refused: $(cat "$T/stranger.err")"
grep -q "^refused" "$T/stranger.out" || fail "the stranger was not heard"
kill -CONT "${pid[migrate]}"
rc=0; finish migrate || rc=$?
told_right "$rc" b
[ "$(field reconnections)" = 0 ] || fail "the stranger cut a stream"
settled b
report "who has the id only is refused"
