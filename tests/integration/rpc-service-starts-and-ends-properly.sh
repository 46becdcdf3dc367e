#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `dray service`: mode and group of its socket, pid file, background, readiness, a socket that is passed; what is in its way is named and left
# alone; at SIGHUP a log file that was moved away begins anew; after SIGTERM nothing of it is left.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
cd "$T"
answers() { client "$1" <<< 'with Client.service(sys.argv[1]) as c: check(c.ask(rpc.VERSION).success, "VERSION")'; }
refused() { # text, then the command's options
	local text=$1 rc=0; shift
	"$DRAY" service "$@" > out 2> err || rc=$?
	[ "$rc" != 0 ] || fail "started: $*"
	grep -q -- "$text" err || { cat err >&2; fail "not said: $text"; }
}

service_start --pidfile "$T/pid" --rpc-group 12 --rpc-mode 0640
[ "$(stat -c '%a %g' rpc.sock)" = '640 12' ] || fail "mode and group of the socket: $(stat -c '%a %g' rpc.sock)"
[ "$(cat pid)" = "$service" ] && [ "$(stat -c '%a %s' pid)" = "600 ${#service}" ] || fail "pid file: $(cat pid)"
answers rpc.sock
refused 'in use' --address rpc.sock
refused 'pid file.*there already' --address other.sock --pidfile pid
[ ! -e other.sock ] || fail "a socket of a service that did not start"
answers rpc.sock
mv service.log old.log
kill -HUP "$service"
client <<'EOF_CLIENT'
import time
end = time.monotonic() + TIMEOUT
while not os.path.exists("service.log"):
    check(time.monotonic() < end, "no new log")
    time.sleep(0.01)
EOF_CLIENT
answers rpc.sock
service_stop
[ ! -e rpc.sock ] && [ ! -e pid ] || fail "left behind: $(ls)"

service_start
[ "$(stat -c %a rpc.sock)" = 600 ] || fail "by default not for its owner alone"
kill -KILL "$service"; wait "$service" || true; service=
[ -e rpc.sock ] || fail "the test is wrong"
service_start # over what the one before left
answers rpc.sock
service_stop

echo text > file
refused 'no socket' --address file
[ "$(cat file)" = text ] || fail "a file that was in the way is gone"
refused 'rpc-mode' --address x.sock --rpc-mode 0999
refused 'group' --address x.sock --rpc-group no-such-group-here
refused '/no/such/place' --address /no/such/place/x.sock

mkfifo status
"$DRAY" service --daemon --address bg.sock --pidfile bg.pid --status-fd 7 7> status &
starter=$!
ready=$(head -c 1 status | od -An -tx1)
[ "$ready" = ' 00' ] || fail "status descriptor: '$ready'"
wait "$starter" || fail "the caller of --daemon ended with $?"
service=$(cat bg.pid)
[ "$(readlink "/proc/$service/cwd")" = "$(pwd -P)" ] || fail "the directory changed"
answers bg.sock
# Not our child: wait for its end by what it removes.
kill "$service"; service=
client bg.pid <<'EOF_CLIENT'
import time
end = time.monotonic() + TIMEOUT
while os.path.exists(sys.argv[1]):
    check(time.monotonic() < end, "it does not end")
    time.sleep(0.01)
EOF_CLIENT
[ ! -e bg.sock ] || fail "left behind: $(ls)"

cat > activate.py <<'EOF_PYTHON'
import os, socket, sys
sock = socket.socket(socket.AF_UNIX, getattr(socket, sys.argv[1]))
sock.bind(sys.argv[2])
if sys.argv[3] == "listen":
    sock.listen()
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[4])
os.execv(os.environ["DRAY"], ["dray", "service", "--address", "not-this.sock"])
EOF_PYTHON
mkfifo ready
"$PYTHON" activate.py SOCK_SEQPACKET passed.sock listen 1 > ready 2> err &
service=$!
read -r line < ready
[ "$line" = 'listening on the socket passed' ] || fail "said: $line"
answers passed.sock
[ ! -e not-this.sock ] || fail "it made one as well"
service_stop
[ -e passed.sock ] || fail "a socket that is not its own is gone"
for wrong in 'SOCK_STREAM a.sock listen 1' 'SOCK_SEQPACKET b.sock no 1' 'SOCK_SEQPACKET c.sock listen 2'; do
	rc=0
	# shellcheck disable=SC2086
	"$PYTHON" activate.py $wrong > out 2> err || rc=$?
	[ "$rc" != 0 ] && grep -q 'service manager' err || { cat err >&2; fail "taken: $wrong"; }
done

# `dray agent --rpc` serves the same, and takes it along when it ends.
mkfifo agent
"$DRAY" agent --listen 127.0.0.1:0 --state-dir "$T/state" --rpc "$T/agent.sock" --log-level error > agent &
service=$!
read -r line < agent
answers agent.sock
[ "$(stat -c %a agent.sock)" = 600 ] || fail "mode of the agent's socket"
service_stop
[ ! -e agent.sock ] || fail "the agent left its socket"
