#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A page server that says nothing, that stops answering, or that stops reading in the middle of a page map: each dump ends by itself, says so, and the
# process that stood still for it runs on. All three at once: what is waited for is the sender's patience.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
cat > "$T/silent.py" << 'PY'
import os, socket, sys, threading
def take(s, n):
    got = b""
    while len(got) < n:
        more = s.recv(n - len(got))
        if not more:
            return None
        got += more
    return got
def serve(s, how):
    if how == "mute":
        return
    take(s, 96) # the probe: an older criu's answers to it
    s.sendall(bytes(16))
    while how == "full":
        header = take(s, 24)
        code = header and header[0]
        if code == 4: # OPEN2
            s.sendall(b"\0")
            return
        if code == 5: # PARENT
            s.sendall(bytes(4))
            continue
        return
kept = []
def listen(how):
    l = socket.socket()
    l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    l.bind(("127.0.0.1", 0))
    l.listen()
    with open("%s/%s.port.new" % (sys.argv[1], how), "w") as f:
        f.write(str(l.getsockname()[1]))
    os.rename("%s/%s.port.new" % (sys.argv[1], how), "%s/%s.port" % (sys.argv[1], how))
    while True:
        s = l.accept()[0]
        kept.append(s) # it stays open
        serve(s, how)
for how in sys.argv[2:]:
    threading.Thread(target=listen, args=(how,)).start()
PY
cat > "$T/subject.py" << 'PY'
import os, sys, time
memory = bytearray(b"x") * (24 << 20) # more than buffers on the way hold
beat = sys.argv[1]
while True:
    os.utime(beat)
    time.sleep(0.01)
PY
launch /usr/bin/python3 "$T/silent.py" "$T" mute half full
declare -A words=(
	[mute]='the page server did not answer in'
	[half]='the page server did not answer in'
	[full]='the page server took nothing for'
)
dumps=()
for how in mute half full; do
	mkdir "$T/$how"
	touch "$T/$how.beat" "$T/$how.mark"
	launch /usr/bin/python3 "$T/subject.py" "$T/$how.beat"
	beats() { [ "$T/$how.beat" -nt "$T/$how.mark" ]; }
	await 30 beats
	await 30 test -s "$T/$how.port"
	( rc=0
	  criu dump -t "$subject" -D "$T/$how" --page-server --address 127.0.0.1 --port "$(cat "$T/$how.port")" > "$T/$how.err" 2>&1 < /dev/null || rc=$?
	  echo "$rc" > "$T/$how.rc" ) & dumps+=($!)
done
wait "${dumps[@]}" || true
for how in mute half full; do
	rc=$(cat "$T/$how.rc")
	[ "$rc" = 1 ] || fail "$how: the dump ended with $rc: $(cat "$T/$how.err")"
	grep -q "${words[$how]}" "$T/$how.err" || fail "$how: $(cat "$T/$how.err")"
	touch "$T/$how.mark"
	beats() { [ "$T/$how.beat" -nt "$T/$how.mark" ]; }
	await 30 beats
	[ ! -e "$T/$how/inventory.img" ] || fail "$how: a set that could be taken for whole"
done
