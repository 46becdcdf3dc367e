#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Where the kernel does TLS, a migration's sockets are encrypted by it and by nobody else: pages are spliced from inside the process right into
# them, nothing relays them, and what is on the wire can't be read. Without its module the relays do it.
. "$(dirname "$0")/../lib/vm.sh"
[ -z "${SAN:-}" ] || { echo "under a sanitizer it takes too long in an emulated machine"; exit 77; }
in_vm 560

t=$(mktemp -d)
fail() { tail -n 20 "$t/agent.err"; grep -v '"progress"' "$t/migrate.out" | tail -n 5; echo "FAILED: $*"; exit 1; }
mkdir "$t/certs" && tests/lib/make-certs "$t/certs"
creds="--tls-cert $t/certs/host-a.pem --tls-key $t/certs/host-a.key --tls-cacert $t/certs/ca.pem"
relays() { grep -lx dray-tls-relay /proc/[0-9]*/comm 2> /dev/null | wc -l; }

encrypts() { case $1:$(relays) in relay:6 | kernel:0) ;; *) false ;; esac; } # one that has handed its socket on may still be on its way out

# move WHO-ENCRYPTS OPTION...
move() {
	local who=$1 subject agent port end moved
	shift
	: > "$t/agent.out" # what the one before said must not be taken for this one's
	"$BUILD/dray" agent --listen 127.0.0.1:0 --state-dir "$t/b" $creds > "$t/agent.out" 2> "$t/agent.err" &
	agent=$!
	await grep -q listening "$t/agent.out"
	port=$(sed 's/.*://' "$t/agent.out")
	rm -f "$t/ready" "$t/report" "$t/heard"
	python3 tests/lib/listen_in.py lo "$t/heard" 'DRAY\r\n\x1a\n' 'DRF1\x01\x00' > /dev/null 2>&1 &
	listener=$!
	await test -e "$t/heard"
	setsid "$BUILD/subjects/workload" --size 2M --rate 0.1 --pattern uniform --data heap --verify \
		--ready "$t/ready" --report "$t/report" > "$t/subject.out" 2>&1 < /dev/null &
	subject=$!
	await test -e "$t/ready"
	DRAY_FAULT=source.frozen:stop "$BUILD/dray" migrate "$subject" "127.0.0.1:$port" --state-dir "$t/a" $creds --downtime-limit 60000 --json "$@" \
		> "$t/migrate.out" 2>&1 &
	migrate=$!
	# In mid-migration: who stands between the two?
	await grep -qs '^State:.T' "/proc/$migrate/status"
	await encrypts "$who"
	kill -CONT $migrate
	wait $migrate || fail "exit code $?"
	end=$(tail -n 1 "$t/migrate.out")
	for want in '"outcome":"moved"' "\"tls\":\"$who\"" '"extract":"splice"'; do
		case $end in *"$want"*) ;; *) fail "no $want" ;; esac
	done
	moved=$(echo "$end" | sed 's/.*"destination_pid":\([0-9]*\).*/\1/')
	await sh -c "! kill -0 $subject 2> /dev/null"
	rm -f "$t/report"
	kill -USR1 "$moved"
	await test -s "$t/report"
	grep -q '"verdict":"right"' "$t/report" || fail "its memory is wrong: $(cat "$t/report")"
	! grep -q seen "$t/heard" || fail "read on the wire: $(cat "$t/heard")"
	kill "$moved" "$agent" "$listener"
	wait "$agent" || fail "the agent did not drain"
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
