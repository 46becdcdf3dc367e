#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A data connection that the kernel encrypts is reset in mid-stream, whether pages are spliced into it or copied: it is made anew, encrypted by the kernel again, and goes on where it
# was; the migration succeeds and the process finds its memory right.
. "$(dirname "$0")/../lib/vm.sh"
needs python3 openssl
not_sanitized
in_vm 560
. tests/lib/vm_workload.sh
fail() { tail -n 20 "$t/agent.err"; grep -v '"progress"' "$t/migrate.out" | tail -n 5; echo "FAILED: $*"; exit 1; }
certificates
modprobe tls

# move WIRE-PORT OPTION...: through a wire on which each data connection is reset once it has carried 2 MiB (a frame has up to 1 MiB)
move() {
	local cutter
	agent_start $(creds host-a)
	: > "$t/cutter.out"
	python3 tests/lib/cutter.py "127.0.0.1:$1" "127.0.0.1:$port" each $((2 << 20)) > "$t/cutter.out" 2>&1 &
	cutter=$!
	await grep -q '^ready' "$t/cutter.out"
	subject_start --size 6M --rate 0.1 --pattern uniform --data heap
	"$BUILD/dray" migrate "$subject" "127.0.0.1:$1" --state-dir "$t/a" $(creds host-a) --verify --downtime-limit 120000 --reconnect-timeout 120000 --json \
		"${@:2}" > "$t/migrate.out" 2>&1 || fail "exit code $?"
	moved '"tls":"kernel"' '"reconnections":[1-9]'
	grep -q '^cut' "$t/cutter.out" || fail "nothing was cut"
	kill "$cutter"
	agent_stop
	echo "ok: cut and gone on: ${*:2}, $(echo "$end" | sed 's/.*\("reconnections":[0-9]*\).*/\1/')"
}
move 7481 --extract splice --streams 1
move 7482 --extract copy --compress none --streams 2
