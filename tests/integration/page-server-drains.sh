#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A page server that is told to end refuses who comes then, at once, and lets sessions under way finish; those that do not come to an end are ended when --drain-timeout is over, or at a
# second signal, and nothing of them is left; one that waits for its sender to come again is not waited for. Whatever else it runs, a relay and an exporter, keeps nobody waiting either.
. "$(dirname "$0")/../lib/page_server.sh"
. "$(dirname "$0")/../lib/tls.sh"
LIB=$root/tests/lib
certs_make
end_server() { # what wait says
	local rc=0
	wait "$server" || rc=$?
	server=
	[ "$rc" = 0 ] || fail "the server ended with $rc"
}
# until_refused(): by the kernel itself, not let wait
cat > "$T/drain.py" << 'PY'
import signal, socket, time
def until_refused(port):
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(port)), 60).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError: # the kernel had taken it in, and then there was no listener any more
            pass
        assert time.monotonic() < end
        time.sleep(0.01)
PY
server_start --drain-timeout 0 --metrics "unix:$T/m" $(creds host-a)
sender << 'PY'
import signal, ssl, sys
sys.path.insert(0, os.environ["T"])
from drain import until_refused
c = ssl.create_default_context(cafile=os.environ["T"] + "/certs/ca.pem")
c.load_cert_chain(os.environ["T"] + "/certs/host-b.pem", os.environ["T"] + "/certs/host-b.key")
s = Sender(os.environ["PORT"])
s.s = c.wrap_socket(s.s, server_hostname="127.0.0.1")
s.open(1)
os.kill(int(os.environ["SERVER"]), signal.SIGTERM)
until_refused(os.environ["PORT"])
s.pages(0x1000, page(1))
assert s.close() == 0
assert published(os.environ["IMAGES"] + "/1", 1)[1] == page(1)
PY
end_server
rm -r "$IMAGES/1"
for how in '--drain-timeout 50' '--drain-timeout 0'; do
	server_start $how
	HOW=$how sender << 'PY'
import signal, sys
sys.path.insert(0, os.environ["T"])
from drain import until_refused
s = Sender(os.environ["PORT"])
s.open(1)
s.pages(0x1000, page(1))
os.kill(int(os.environ["SERVER"]), signal.SIGTERM)
if os.environ["HOW"].endswith(" 0"):
    until_refused(os.environ["PORT"])
    s.open(2) # it is served still
    os.kill(int(os.environ["SERVER"]), signal.SIGTERM)
assert s.dropped()
PY
	end_server
	nothing_published || fail "$how: left $(find "$IMAGES" -mindepth 1)"
done

server_gone() { [ ! -e "/proc/$server/exe" ]; }
# a native session whose connection is cut is waited for no longer, nobody could bring another: also one whose sender had said nothing by then
: > "$T/log"
server_start --drain-timeout 0 --resume-timeout 1h
sender << 'PY'
import signal, sys, time
sys.path.insert(0, os.environ["T"])
from drain import until_refused
silent = Sender(os.environ["PORT"])
end = time.monotonic() + 60
while True:
    with open(os.environ["T"] + "/log") as log:
        if "session-begin" in log.read():
            break
    assert time.monotonic() < end
    time.sleep(0.02)
os.kill(int(os.environ["SERVER"]), signal.SIGTERM)
until_refused(os.environ["PORT"])
assert silent.hello(5, features=FEATURES | NUMBERED)[0] == 0
silent.s.sendall(struct.pack("<Q", 0))
silent.say(OPEN2, dst=1 << 8 | 1)
assert Native.answer(silent) == 0
silent.s.close()
PY
await 20 server_gone
end_server
nothing_published || fail "left $(find "$IMAGES" -mindepth 1)"
: > "$T/log"
server_start --drain-timeout 0 --resume-timeout 1h
sender << 'PY'
s = Native(os.environ["PORT"], numbered=True)
s.open(1)
s.pages(0x1000, page(1))
s.s.close()
PY
await 20 grep -q stream-cut "$T/log"
kill -TERM "$server"
await 20 server_gone
end_server
nothing_published || fail "left $(find "$IMAGES" -mindepth 1)"
