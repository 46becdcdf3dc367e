#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The server is killed while a session runs: the session goes on, is published, and its sender is told so.
. "$(dirname "$0")/../lib/page_server.sh"
server_start
sender << 'PY'
import signal
s = Sender(os.environ["PORT"])
s.open(1)
s.pages(0x1000, page(1))
os.kill(int(os.environ["SERVER"]), signal.SIGKILL)
s.pages(0x2000, page(2))
assert s.close() == 0
assert published(os.environ["IMAGES"] + "/1", 1) == ([(0x1000, 2, 4)], page(1) + page(2))
PY
rc=0; wait "$server" || rc=$?
server=
[ $rc = 137 ] || fail "the server was not killed: $rc"
