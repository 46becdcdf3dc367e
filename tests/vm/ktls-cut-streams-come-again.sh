#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A data connection that the kernel encrypts is reset in mid-stream, whether pages are spliced into it or copied: it is made anew, encrypted by the kernel again, and goes on where it
# was; the migration succeeds and the process finds its memory right.
. "$(dirname "$0")/../lib/vm.sh"
needs python3 openssl
[ -z "${SAN:-}" ] || { echo "under a sanitizer it takes too long in an emulated machine"; exit 77; }
in_vm 560

t=$(mktemp -d)
fail() { tail -n 20 "$t/agent.err"; grep -v '"progress"' "$t/migrate.out" | tail -n 5; echo "FAILED: $*"; exit 1; }
mkdir "$t/certs" && tests/lib/make-certs "$t/certs"
creds="--tls-cert $t/certs/host-a.pem --tls-key $t/certs/host-a.key --tls-cacert $t/certs/ca.pem"
modprobe tls

# move WIRE-PORT OPTION...: through a wire on which each data connection is reset once it has carried 2 MiB (a frame has up to 1 MiB)
move() {
	local subject agent end moved cutter
	: > "$t/agent.out"
	"$BUILD/dray" agent --listen 127.0.0.1:0 --state-dir "$t/b" $creds > "$t/agent.out" 2> "$t/agent.err" &
	agent=$!
	await grep -q listening "$t/agent.out"
	: > "$t/cutter.out"
	python3 tests/lib/cutter.py "127.0.0.1:$1" "127.0.0.1:$(sed 's/.*://' "$t/agent.out")" each $((2 << 20)) > "$t/cutter.out" 2>&1 &
	cutter=$!
	await grep -q '^ready' "$t/cutter.out"
	rm -f "$t/ready" "$t/report"
	setsid "$BUILD/subjects/workload" --size 6M --rate 0.1 --pattern uniform --data heap --verify \
		--ready "$t/ready" --report "$t/report" > "$t/subject.out" 2>&1 < /dev/null &
	subject=$!
	await test -e "$t/ready"
	"$BUILD/dray" migrate "$subject" "127.0.0.1:$1" --state-dir "$t/a" $creds --verify --downtime-limit 120000 --reconnect-timeout 120000 --json \
		"${@:2}" > "$t/migrate.out" 2>&1 || fail "exit code $?"
	end=$(tail -n 1 "$t/migrate.out")
	for want in '"outcome":"moved"' '"tls":"kernel"' '"reconnections":[1-9]'; do
		echo "$end" | grep -q "$want" || fail "no $want"
	done
	grep -q '^cut' "$t/cutter.out" || fail "nothing was cut"
	moved=$(echo "$end" | sed 's/.*"destination_pid":\([0-9]*\).*/\1/')
	await sh -c "! kill -0 $subject 2> /dev/null"
	rm -f "$t/report"
	kill -USR1 "$moved"
	await test -s "$t/report"
	grep -q '"verdict":"right"' "$t/report" || fail "its memory is wrong: $(cat "$t/report")"
	kill "$moved" "$agent" "$cutter"
	wait "$agent" || fail "the agent did not drain"
	echo "ok: cut and gone on: ${*:2}, $(echo "$end" | sed 's/.*\("reconnections":[0-9]*\).*/\1/')"
}
move 7481 --extract splice --streams 1
move 7482 --extract copy --compress none --streams 2
