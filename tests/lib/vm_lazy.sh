# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# vm_lazy.sh - sourced behind in_vm by the tests of pages that come after a restore: a subject, its restore, and what must be true in the end.
# A test sets dump and daemon, the PIDs of those two programs, before it calls fed.
fail() { echo "FAILED: $*"; tail -n 20 "$t"/*.err "$t"/*/*.log 2> /dev/null; exit 1; }
listens() { ss -Hltn "sport = :$1" | grep -q .; }
next=20000
subject() { # a program of some MiB that knows its own data
	next=$((next + 100))
	echo $next > /proc/sys/kernel/ns_last_pid
	rm -f "$t/ready" "$t/verdict"
	setsid "$BUILD/subjects/workload" --size 8M --rate 1 --threads 1 --verify --ready "$t/ready" --report "$t/verdict" < /dev/null > /dev/null 2>&1 &
	pid=$!
	await test -e "$t/ready"
}
# In a PID namespace of its own: the original is still there, stopped, while its copy runs.
restorer=criu
restore() {
	setsid unshare --pid --mount --fork --mount-proc --kill-child=KILL "$restorer" restore -D "$1" -o restore.log -v2 --shell-job --lazy-pages < /dev/null > "$t/restore.err" 2>&1 &
	restored=$!
}
child_of() { local c; c=$(cat "/proc/$1/task/$1/children" 2> /dev/null); echo "${c%% *}"; }
right() { # the copy says that all its memory is right, after its last page came
	local p
	p=$(child_of "$(child_of "$restored")")
	[ -n "$p" ] || fail "nothing was restored"
	kill -USR1 "$p"
	await test -e "$t/verdict"
	grep -q '"verdict":"right"' "$t/verdict" || fail "wrong data: $(cat "$t/verdict")"
	kill -KILL "$p"
	await gone "$restored"
}

# SET, DAEMON, DUMP: the set is restored, both programs end well, the original is gone, the copy is right.
fed() {
	await test -S "$t/$1/lazy-pages.socket"
	restore "$t/$1"
	wait "$daemon" || fail "$2 ended with $?"
	wait "$dump" || fail "$3 ended with $?"
	await gone "$pid"
	right
}
