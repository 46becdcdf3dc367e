# SPDX-License-Identifier: Apache-2.0
# faults.sh - a migration that is hurt at a named point (proto/base/fault.h), and who must be alive afterwards. Sourced behind subject.sh.
#
# Up to `prepared` the source's copy lives, from `commit` on the destination's.
source_points="source.connected:a source.armed:a source.round:a source.frozen:a source.state-sent:a source.prepared:a
	source.commit-sent:b source.running:b source.done:b"
destination_points="destination.cgroup:a destination.offered:a destination.round:a destination.state:a destination.prepared:a
	destination.committed:b destination.running:b"

wired() { ! "$DRAY" 2>&1 | grep -q 'not wired yet' || skip "the program is not wired yet"; }
faults_begin() {
	wired
	hosts_up
	[ -x "$SUBJECT" ] || fail "build it first: make test-programs"
	mkdir -p "$T/state-a"
	[ -n "${1:-}" ] || agent_start b
}

# settled HOST: one copy, there, right, and nothing else on either host. Then the subject goes.
settled() {
	local keep=
	runs_only_on "$1"
	if [ "$1" = b ]; then
		pid[moved]=$(process_there b "${inner[subject]}")
		nothing_left a
		nothing_left b moved
	else
		nothing_left a subject
		nothing_left b
	fi
	subject_stop
	nothing_left "$1"
}

# The exit code and the report agree with who is alive.
told_right() { # exit-code host
	if [ "$2" = b ]; then
		[ "$1" = 0 ] || fail "it moved, but the exit code is $1"
		[ "$(field outcome)" = moved ] || fail "it moved, but the outcome is $(field outcome)"
	else
		[ "$1" != 0 ] || fail "it did not move, but the exit code is 0"
		[ "$1" -lt 64 ] || fail "it ended with $1"
		[ "$(field outcome)" = aborted ] || fail "it did not move, but the outcome is $(field outcome)"
		[ -s "$T/migrate.err" ] || fail "no word about why"
	fi
}

report() { echo "ok: $*"; }
