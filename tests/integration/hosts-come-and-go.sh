#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The two test hosts see each other and nothing else, and nothing of them is left when the test ends, however it ends.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" = inner ]; then
	. "$here/../lib/hosts.sh"
	hosts_up
	echo "$T" > "$2"
	echo "$$" > "$2.pid"
	start a server "$PYTHON" -c 'import socket; s = socket.create_server(("10.77.0.1", 9)); c, _ = s.accept(); c.sendall(b"hello from a")'
	await 10 host_a sh -c "ss -Hltn | grep -q 10.77.0.1:9"
	got=$(host_b "$PYTHON" -c 'import socket; print(socket.create_connection(("10.77.0.1", 9)).recv(99).decode())')
	[ "$got" = "hello from a" ] || fail "got: $got"
	finish server || fail "server: $?"
	[ "$(host_b cat /proc/sys/kernel/hostname)" = host-b ] || fail "name of b"
	start b subject "$SUBJECT" --size 4M --rate 1 --beat "$T/beat"
	[ "$(process_there b "${inner[subject]}")" = "${pid[subject]}" ] || fail "not found by its inner pid"
	! nothing_left_now b || fail "a process was overlooked"
	nothing_left b subject
	nothing_left a
	[ "${3:-}" != die ] || kill -TERM $$
	[ "${3:-}" != fail ] || fail "on purpose"
	exit 0
fi
. "$here/../lib/hosts.sh"
hosts_need
where=$(mktemp)
trap 'rm -f "$where" "$where.pid"' EXIT
for how in "" fail die; do
	"$0" inner "$where" $how > "$where.log" 2>&1 && rc=0 || rc=$?
	case "$how:$rc" in :0 | fail:1 | die:143) ;; *) cat "$where.log"; rm -f "$where.log"; fail "'$how' ended with $rc" ;; esac
	rm -f "$where.log"
	t=$(cat "$where")
	[ ! -e "$t" ] || fail "$t stays"
	! grep -lsF "$t" /proc/[0-9]*/cmdline || fail "processes stay"
	! ip netns list | grep -q "^dray-$(cat "$where.pid")-" || fail "network namespaces stay"
	echo "ok: ${how:-an orderly end}"
done
