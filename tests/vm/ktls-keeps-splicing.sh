#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Where the kernel does TLS, a migration's sockets are encrypted by it and by nobody else: pages are spliced from inside the process right into
# them, nothing relays them, and what is on the wire can't be read. Without its module the relays do it.
. "$(dirname "$0")/../lib/vm.sh"
not_sanitized
in_vm 560
. tests/lib/vm_workload.sh
fail() { tail -n 20 "$t/agent.err"; grep -v '"progress"' "$t/migrate.out" | tail -n 5; echo "FAILED: $*"; exit 1; }
certificates
relays() { grep -lx dray-tls-relay /proc/[0-9]*/comm 2> /dev/null | wc -l; }

encrypts() { case $1:$(relays) in relay:6 | kernel:0) ;; *) false ;; esac; } # one that has handed its socket on may still be on its way out

# move WHO-ENCRYPTS OPTION...
move() {
	local who=$1 migrate listener
	shift
	agent_start $(creds host-a)
	rm -f "$t/heard"
	python3 tests/lib/listen_in.py lo "$t/heard" 'DRAY\r\n\x1a\n' 'DRF1\x01\x00' > /dev/null 2>&1 &
	listener=$!
	await test -e "$t/heard"
	subject_start --size 2M --rate 0.1 --pattern uniform --data heap
	DRAY_FAULT=source.frozen:stop "$BUILD/dray" migrate "$subject" "127.0.0.1:$port" --state-dir "$t/a" $(creds host-a) --downtime-limit 60000 --json "$@" \
		> "$t/migrate.out" 2>&1 &
	migrate=$!
	# In mid-migration: who stands between the two?
	await grep -qs '^State:.T' "/proc/$migrate/status"
	await encrypts "$who"
	kill -CONT $migrate
	wait $migrate || fail "exit code $?"
	moved "\"tls\":\"$who\"" '"extract":"splice"'
	! grep -q seen "$t/heard" || fail "read on the wire: $(cat "$t/heard")"
	kill "$listener"
	agent_stop
	echo "ok: encrypted by the $who: $*"
}
lsmod | grep -q '^tls ' && fail "the module is there already"
mv /lib/modules/"$(uname -r)"/kernel/net/tls "$t/tls-module" 2> /dev/null || fail "can't take the module away"
move relay --extract splice
mv "$t/tls-module" /lib/modules/"$(uname -r)"/kernel/net/tls
# Loaded by whoever wants it first.
move kernel --extract splice
lsmod | grep -q '^tls ' || fail "no module"
move kernel --extract auto
