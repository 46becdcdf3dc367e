# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# vm_workload.sh - sourced behind in_vm: a process that knows its own data, and what becomes of it. Its files are in $t.
subject_start() { # OPTION...: a workload in a session of its own; $subject
	rm -f "$t/ready" "$t/report"
	setsid "$BUILD/subjects/workload" "$@" --verify --ready "$t/ready" --report "$t/report" > "$t/subject.out" 2>&1 < /dev/null &
	subject=$!
	disown
	await test -e "$t/ready"
}
right() { # PID: it finds all its memory right
	rm -f "$t/report"
	kill -USR1 "$1"
	await test -s "$t/report"
	grep -q '"verdict":"right"' "$t/report" || fail "its memory is wrong: $(cat "$t/report")"
}
agent_start() { # OPTION...: $agent, $port; agent.out, agent.err
	: > "$t/agent.out" # what the one before said must not be taken for this one's
	"$BUILD/dray" agent --listen 127.0.0.1:0 --state-dir "$t/b" "$@" > "$t/agent.out" 2> "$t/agent.err" &
	agent=$!
	await grep -q listening "$t/agent.out"
	port=$(sed 's/.*://' "$t/agent.out")
}
agent_stop() {
	kill "$agent"
	wait "$agent" || fail "the agent did not drain"
}
moved() { # PATTERN...: the last line of migrate.out ($end) has them all; $subject is gone, the process that it became is right, and is ended
	local want pid
	end=$(tail -n 1 "$t/migrate.out")
	for want in '"outcome":"moved"' "$@"; do echo "$end" | grep -q "$want" || fail "no $want"; done
	pid=$(echo "$end" | sed 's/.*"destination_pid":\([0-9]*\).*/\1/')
	await gone "$subject"
	right "$pid"
	kill "$pid"
}
