#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent is killed while a session of its is under way, and started again: the session goes on, and what comes on new connections for it finds it. Pages
# that come by post-copy go on when their connections are cut, and so does a round whose stream is. Nobody else gets in by that door, nor has the agent knock at his.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
wire_ready() { grep -q '^ready' "$T/cutter.out"; }
wire() { start b cutter "$PYTHON" "$LIB/cutter.py" "${host_addr[b]}:7472" "${host_addr[b]}:$PORT" "$@"; await 10 wire_ready; }
another_agent() { agent_kill b; agent_start b; }
ended_by_itself() { gone "${pid[migrate]}"; }
goes_on() { # what, fault, option...
	subject_start --size 24M --rate 20
	TO=${host_addr[b]}:7472 FAULT=$2:stop migrate_start "${@:3}"
	await 30 is_stopped_on a
	another_agent
	kill -CONT $(stopped_on a)
	await 60 ended_by_itself
	rc=0; finish migrate || rc=$?
	grep -q '^cut' "$T/cutter.out" || fail "$1: nothing was cut"
	told_right "$rc" b
	await 30 grep -aq ' session-again ' "$T/agent-b.err"
	end cutter
	settled b
	report "$1: cut after the agent came again, and went on"
}

wire after late
goes_on "post-copy" source.late --postcopy
wire each $((3 << 20))
goes_on "a round" source.armed --downtime-limit 60000 --reconnect-timeout 60000

# Nothing is cut: nobody needs the agent.
subject_start --size 64M --rate 0
FAULT=source.late:stop migrate_start --postcopy
await 30 is_stopped_on a
id=$(migration_id)
agent_kill b
cat > "$T/nobody.py" << 'PY'
import os, socket, struct, sys, time
mine, address, port = sys.argv[1:]
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)


def door(id):
    return "\0dray-session-" + id


end = time.monotonic() + 60
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(60)
while True: # the session has to see first that its agent is gone
    try:
        s.connect(door(mine))
        break
    except ConnectionRefusedError:
        assert time.monotonic() < end
        time.sleep(0.02)
try:
    assert s.recv(100) == b"", "the session speaks to nobody"
except ConnectionError:
    pass
other = os.urandom(16)
trap = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
trap.bind(door(other.hex()))
trap.listen()
trap.settimeout(60)
print("ready", flush=True)
sys.stdin.readline() # the agent is there
asker = socket.create_connection((address, int(port)), 60)
asker.sendall(struct.pack("<8sHBBIQ16sII16s", b"DRAY\r\n\x1a\n", 1, 3, 0, 0, 0, other, 1024, 1 << 25, bytes(16)))
line, _ = trap.accept()
line.settimeout(60)
try:
    assert line.recv(1000) == b"", "the agent hands nobody a connection"
except ConnectionError:
    pass
PY
mkfifo "$T/go"
host_b "$PYTHON" "$T/nobody.py" "$id" "${host_addr[b]}" "$PORT" < "$T/go" > "$T/nobody.out" 2> "$T/nobody.err" &
nobody=$!
exec 9> "$T/go"
nobody_ready() { grep -q ready "$T/nobody.out" || ! kill -0 "$nobody" 2> /dev/null; }
await 60 nobody_ready
agent_start b
echo go >&9
exec 9>&-
wait "$nobody" || fail "nobody: $(cat "$T/nobody.err")"
await 30 grep -aq ' session-again ' "$T/agent-b.err"
kill -CONT $(stopped_on a)
rc=0; finish migrate || rc=$?
told_right "$rc" b
settled b
report "post-copy on its connections needs no agent, and knows its own"
