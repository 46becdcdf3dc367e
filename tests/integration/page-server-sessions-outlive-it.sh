#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The server is killed while sessions run: one goes on, is published, and its sender is told so; a native one goes on too, but does not wait for connections that nobody takes any more.
. "$(dirname "$0")/../lib/page_server.sh"
server_start --resume-timeout 1h
sender << 'PY'
import signal, time
numbered = Native(os.environ["PORT"], numbered=True) # its process is there before the other's
numbered.open(2)
s = Sender(os.environ["PORT"])
s.open(1)
s.pages(0x1000, page(1))
os.kill(int(os.environ["SERVER"]), signal.SIGKILL)
numbered.pages(0x1000, page(3))
assert numbered.parent(1) == 0
numbered.s.close()
end = time.monotonic() + 60
while True:
    with open(os.environ["T"] + "/log") as log:
        if "no other connection came" in log.read():
            break
    assert time.monotonic() < end
    time.sleep(0.02)
s.pages(0x2000, page(2))
assert s.close() == 0
assert published(os.environ["IMAGES"] + "/2", 1) == ([(0x1000, 2, 4)], page(1) + page(2))
PY
rc=0; wait "$server" || rc=$?
server=
[ $rc = 137 ] || fail "the server was not killed: $rc"
