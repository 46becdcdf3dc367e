#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --once takes one connection, refuses a second, writes into the directory itself and ends with the session's outcome; a pid file and a status descriptor say
# when it is ready; other addresses than loopback need --insecure; SIGTERM lets a session finish, a second one or the end of --drain-timeout cuts it and nothing of it stays; under the
# name criu the first does.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --once
sender << 'PY'
s = Sender(os.environ["PORT"])
s.open(1)
try:
    Sender(os.environ["PORT"])
    raise SystemExit("a second connection was taken")
except ConnectionError:
    pass
s.pages(0x1000, page(1))
assert s.close() == 0
assert published(os.environ["IMAGES"], 1) == ([(0x1000, 1, 4)], page(1))
PY
wait "$server" || fail "a session that succeeded: $?"
server_start --once
sender << 'PY'
s = Sender(os.environ["PORT"])
s.open(2)
s.s.close()
PY
rc=0; wait "$server" || rc=$?
[ $rc = 6 ] || fail "a session that broke off: $rc"
server=
[ ! -e "$IMAGES/pagemap-2.img" ] || fail "published all the same"

# told to end: whatever it is in the middle of, nothing stays behind
ended() { # CODE WORDS: the server did so, and left the sets that were there before
	local rc=0
	wait "$server" || rc=$?
	server=
	[ "$rc" = "$1" ] || fail "it ended with $rc, not $1"
	grep -q -- "$2" "$T/log" || fail "the log does not say \"$2\""
	[ ! -e "$T/once.pid" ] || fail "the pid file is still there"
	[ "$(ls -A "$IMAGES")" = "$before" ] || fail "it left $(ls -A "$IMAGES")"
}
once_to_end() { # OPTION...
	: > "$T/log"
	server_start --once --pidfile "$T/once.pid" "$@"
}
cat > "$T/told.py" << 'PY'
import signal, time
from ps_sender import *
def begun():
    s = Sender(os.environ["PORT"])
    s.open(4)
    s.pages(0x1000, page(4))
    return s
def tell():
    os.kill(int(os.environ["SERVER"]), signal.SIGTERM)
    end = time.monotonic() + 60
    while " draining " not in open(os.environ["T"] + "/log").read():
        assert time.monotonic() < end
        time.sleep(0.01)
PY
told() { { echo "import sys; sys.path.insert(0, '$T'); from told import *"; cat; } > "$T/telling"; sender < "$T/telling"; }
before=$(ls -A "$IMAGES")
once_to_end
kill -TERM "$server"
ended 9 'told to stop before a sender came'
once_to_end --drain-timeout 0
told << 'PY'
s = begun()
tell()
os.kill(int(os.environ["SERVER"]), signal.SIGTERM)
assert s.dropped()
PY
ended 9 'told to stop: sender 127.0.0.1'
once_to_end --drain-timeout 50
told << 'PY'
s = begun()
tell()
assert s.dropped()
PY
ended 9 'told to stop: sender 127.0.0.1'
ln -s "$DRAY" "$T/criu"
: > "$T/out"
: > "$T/log"
"$T/criu" page-server -D "$IMAGES" --port 0 -v4 > "$T/out" 2> "$T/log" < /dev/null &
server=$!
await 20 grep -q listening "$T/out"
port=$(sed 's/.*://' "$T/out")
told << 'PY'
s = begun()
tell()
assert s.dropped()
PY
ended 1 'told to stop: sender 127.0.0.1'
# a socket that is inherited is not cut, for it is somebody else's, whether the sender waits for the server or the server for it
: > "$T/log"
told << 'PY'
import socket, subprocess, threading
class Inherited(Sender):
    def __init__(self, s):
        self.s, self.layout = s, 32
for busy in (False, True):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    log = open(os.environ["T"] + "/log", "a")
    server = subprocess.Popen([os.environ["T"] + "/criu", "page-server", "-D", os.environ["IMAGES"], "--ps-socket", str(theirs.fileno()), "-v4"],
                              pass_fds=[theirs.fileno()], stderr=log)
    ours.settimeout(120)
    s = Inherited(ours)
    s.open(4)
    s.pages(0x1000, page(4))
    def stream():
        for n in range(1 << 30):
            s.hole(0x2000 + n * PAGE * 2, 1, LAZY)
    def tell_and_see():
        server.terminate()
        assert server.wait(120) == 1
    if busy:
        threading.Thread(target=tell_and_see).start()
        try:
            theirs.close()
            stream()
        except ConnectionError: # it has ended, and nobody else has the other end
            pass
        assert server.wait(120) == 1
    else:
        tell_and_see()
        theirs.sendall(b"still there")
        assert ours.recv(11) == b"still there"
PY
[ "$(grep -c 'told to stop' "$T/log")" = 2 ] || fail "the log does not say that it was told to stop"
[ "$(ls -A "$IMAGES")" = "$before" ] || fail "it left $(ls -A "$IMAGES")"
once_to_end --drain-timeout 0
told << 'PY'
s = begun()
tell()
s.pages(0x2000, page(5))
assert s.close() == 0
assert published(os.environ["IMAGES"], 4) == ([(0x1000, 2, 4)], page(4) + page(5))
PY
wait "$server" || fail "a session that was let finish: $?"
server=

rc=0; "$DRAY" page-server -D "$IMAGES" --address 0.0.0.0 2> "$T/err" || rc=$?
[ $rc = 2 ] && grep -q -- --insecure "$T/err" || fail "another address: $rc, $(cat "$T/err")"
rc=0; "$DRAY" page-server -D "$T/missing" 2> "$T/err" || rc=$?
[ $rc != 0 ] && grep -q "$T/missing" "$T/err" || fail "a missing directory: $rc, $(cat "$T/err")"
rc=0; "$DRAY" page-server -D "$IMAGES/%p" 2> "$T/err" || rc=$?
[ $rc = 2 ] && grep -q -- '%n' "$T/err" || fail "a template without a number: $rc, $(cat "$T/err")"

# in the background: ready when the caller's process ends
exec 7> "$T/status"
"$DRAY" page-server -D "$IMAGES" --daemon --pidfile "$T/pid" --status-fd 7 > "$T/out" 2>> "$T/log" || fail "--daemon: $?"
exec 7>&-
port=$(sed 's/.*://' "$T/out")
await 20 test -s "$T/pid"
daemon=$(cat "$T/pid")
await 20 test -s "$T/status"
DAEMON=$daemon sender << 'PY'
import signal
s = Sender(os.environ["PORT"])
s.open(3)
os.kill(int(os.environ["DAEMON"]), signal.SIGTERM)
s.pages(0x1000, page(3))
assert s.close() == 0
PY
gone() { ! kill -0 "$daemon" 2> /dev/null; }
await 20 gone
[ ! -e "$T/pid" ] || fail "the pid file is still there"
[ "$(find "$IMAGES" -name pagemap-3.img | wc -l)" = 1 ] || fail "the session under way was not published"
