#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process that writes all the time moves with soft-dirty tracking, on a kernel that has it: its memory is right at the destination.
. "$(dirname "$0")/../lib/vm.sh"
in_vm 560

t=$(mktemp -d)
fail() { echo "FAILED: $*"; cat "$t"/agent.err "$t"/migrate.out; exit 1; }

"$BUILD/dray" agent --listen 127.0.0.1:0 --state-dir "$t/b" --log-level info > "$t/agent.out" 2> "$t/agent.err" &
agent=$!
await grep -q listening "$t/agent.out"
port=$(sed 's/.*://' "$t/agent.out")
setsid "$BUILD/subjects/workload" --size 32M --rate 2 --pattern uniform --data heap --threads 2 --verify \
	--ready "$t/ready" --report "$t/report" > "$t/subject.out" 2>&1 < /dev/null &
subject=$!
await test -e "$t/ready"
"$BUILD/dray" migrate "$subject" "127.0.0.1:$port" --state-dir "$t/a" --tracker soft-dirty --downtime-limit 60000 --json > "$t/migrate.out" 2>&1 ||
	fail "exit code $?"
end=$(tail -n 1 "$t/migrate.out")
for want in '"outcome":"moved"' '"tracker":"soft-dirty"'; do
	case $end in *"$want"*) ;; *) fail "no $want" ;; esac
done
moved=$(echo "$end" | sed 's/.*"destination_pid":\([0-9]*\).*/\1/')
await sh -c "! kill -0 $subject 2> /dev/null"
rm -f "$t/report"
kill -USR1 "$moved"
await test -s "$t/report"
grep -q '"verdict":"right"' "$t/report" || fail "its memory is wrong: $(cat "$t/report")"
kill "$moved" "$agent"
echo "$end" | sed 's/"rounds":\[.*\],"stop_reason"/"stop_reason"/'
echo "ok: moved with soft-dirty tracking, every page right"
