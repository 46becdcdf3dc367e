#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process that writes all the time moves with soft-dirty tracking, on a kernel that has it: its memory is right at the destination.
. "$(dirname "$0")/../lib/vm.sh"
in_vm 560
. tests/lib/vm_workload.sh
fail() { echo "FAILED: $*"; cat "$t"/agent.err "$t"/migrate.out; exit 1; }

agent_start --log-level info
subject_start --size 32M --rate 2 --pattern uniform --data heap --threads 2
"$BUILD/dray" migrate "$subject" "127.0.0.1:$port" --state-dir "$t/a" --tracker soft-dirty --downtime-limit 60000 --json > "$t/migrate.out" 2>&1 ||
	fail "exit code $?"
moved '"tracker":"soft-dirty"'
agent_stop
echo "$end" | sed 's/"rounds":\[.*\],"stop_reason"/"stop_reason"/'
echo "ok: moved with soft-dirty tracking, every page right"
