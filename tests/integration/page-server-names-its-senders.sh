#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A sender is known by its address, by IPv4 and IPv6, or as "unix" where it came by a socket that has none: its directories have that name, and what it was last published is
# the parent of its next set, whoever else sends.
. "$(dirname "$0")/../lib/page_server.sh"
two_rounds() { # HOST NAME
	HOST=$1 NAME=$2 sender << 'PY'
images, host, name = os.environ["IMAGES"] + "/", os.environ["HOST"], os.environ["NAME"]
for n in (1, 2):
    s = Sender(os.environ["PORT"], host=host)
    assert s.open(1) == (n == 2)
    if n == 2:
        s.hole(0x1000, 1)
    s.pages(0x2000 if n == 2 else 0x1000, page(n))
    assert s.close() == 0
first, second = sorted(os.listdir(images + name), key=int)
assert os.readlink(images + name + "/" + second + "/parent") == "../../%s/%s" % (name, first)
PY
}
server_start -D "$IMAGES/%p/%n" --chain
two_rounds 127.0.0.1 127.0.0.1
server_stop
if python3 -c 'import socket; socket.create_server(("::1", 0), family=socket.AF_INET6)' 2> /dev/null; then
	server_start -D "$IMAGES/%p/%n" --chain --address ::1
	grep -qx "listening on \[::1\]:$port" "$T/out" || fail "it listens elsewhere: $(cat "$T/out")"
	two_rounds ::1 ::1
	server_stop
else
	echo "no IPv6 here"
fi

cat > "$T/activate.py" << 'PY'
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(8)
if s.fileno() != 3:
    os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
PY
: > "$T/out"
/usr/bin/python3 "$T/activate.py" "$T/socket" "$DRAY" page-server -D "$IMAGES/%p/%n" --chain > "$T/out" 2>> "$T/log" < /dev/null &
server=$!
await 20 grep -q listening "$T/out"
two_rounds "$T/socket" unix
server_stop
