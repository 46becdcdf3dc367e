# SPDX-License-Identifier: Apache-2.0
# subject.sh - a small process that is moved, and what must hold for it whatever happened: exactly one copy runs, its data is right,
# nothing else is left. Sourced behind hosts.sh.
#
#   subject_start [OPTION...]     the workload (bench/workload.c), on a; counts its heartbeats in $T/beat and knows its own data
#   migrate [OPTION...]           in the foreground; output in $T/migrate.out and .err; returns its exit code
#   migrate_start [OPTION...]     in the background (finish migrate)
#   stopped_at POINT [OPTION...]  likewise, and it has come to that point of the source's, where its program stands still (stopped_on a)
#   runs_only_on HOST             exactly one copy, on HOST, and it is right
#   said WORD                     the last migrate's standard error has WORD
#   field NAME                    of the last JSON object on its standard output
#   migration_id                  of the one that runs, once an event of its was seen; its records have that name
# Faults: FAULT=point[:action] in the environment of migrate goes to the source's processes as DRAY_FAULT.

subject_start() {
	subject_run "$SUBJECT" --size 8M --rate 4 --threads 2 --data heap --verify --beat "$T/beat" --report "$T/verdict" --ready "$T/ready" "$@"
}
# Any program that keeps those three files as the workload does.
subject_run() {
	rm -f "$T"/beat "$T"/ready "$T"/verdict
	start a subject "$@"
	await 120 test -e "$T/ready"
}
subject_stop() {
	local h p
	for h in a b; do
		! p=$(process_there "$h" "${inner[subject]}") || kill -KILL "$p" 2> /dev/null || true
	done
	for h in a b; do await 10 subject_absent "$h"; done
	end subject
}
subject_absent() { ! process_there "$1" "${inner[subject]}" > /dev/null; }

beats() { wc -l < "$T/beat"; }
beats_beyond() { [ "$(beats)" -gt "$1" ]; }
advances() { await "${2:-10}" beats_beyond "$(($(beats) + ${1:-20}))"; }
# Two copies would both write: then a number comes twice. A lost one would be a hole.
# The file may end within a line that is just being written.
beats_right() { head -n "$(beats)" "$T/beat" | awk '$1 != NR { print "beat " NR " says " $1; exit 1 }' >&2; }

subject_right() { # its own verdict on all its pages
	local p
	p=$(process_there "$1" "${inner[subject]}") || fail "the subject is not on $1"
	rm -f "$T/verdict"
	kill -USR1 "$p"
	await 20 test -e "$T/verdict"
	grep -q '"verdict":"right"' "$T/verdict" || fail "wrong data: $(cat "$T/verdict")"
}

other() { [ "$1" = a ] && echo b || echo a; }
runs_only_on() {
	await 20 subject_absent "$(other "$1")"
	await 20 subject_present "$1"
	advances
	beats_right || fail "more than one copy ran, or it lost its place"
	subject_right "$1"
	subject_absent "$(other "$1")" || fail "a second copy on $(other "$1")"
}
subject_present() { process_there "$1" "${inner[subject]}" > /dev/null; }

migrate_start() {
	mkdir -p "$T/state-a"
	start a migrate env ${FAULT:+DRAY_FAULT="$FAULT"} "$DRAY" migrate "${inner[${MOVED:-subject}]}" "${TO:-${host_addr[b]}:$PORT}" \
		--state-dir "$T/state-a" --json "$@"
}
migrate() { migrate_start "$@"; finish migrate; }
said() { grep -qiE -- "$1" "$T/migrate.err" || { cat "$T/migrate.err" >&2; fail "not said: $1"; }; }
field() { tail -n 1 "$T/migrate.out" | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1]))' "$1"; }
migration_id() { head -n 1 "$T/migrate.out" | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["id"])'; }
event_seen() { grep -q "\"event\" *: *\"$1\"" "$T/migrate.out"; }

# A process that stands still by SIGSTOP, of the program itself: where an action "stop" took effect.
stopped_on() {
	processes_of "$1" | while read -r p _ state; do
		[ "$state" != T ] || [ "$(readlink "/proc/$p/exe")" != "$(readlink -f "$DRAY")" ] || echo "$p"
	done
}
is_stopped_on() { [ -n "$(stopped_on "$1")" ]; }
stopped_at() {
	local point=$1
	shift
	FAULT=$point:stop migrate_start "$@"
	await 30 is_stopped_on a
}
agent_again() { agent_alive b || agent_start b "$@"; }
