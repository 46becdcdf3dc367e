#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Post-copy, and the destination can't write down that every page is there: the original stays, frozen, until it can. Else a session killed behind that would
# leave a record by which the only copy has to be ended. Nor does who asks meanwhile, the source being lost, hear that it is over.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin without-agent
DRAY_FAULT=destination.late:stop agent_start b
errors() { grep -c ' journal error=' "$T/agent-b.err" || true; }
tried_again() { [ "$(errors)" -ge $((before + 3)) ]; }
cannot_be_written() {
	subject_start
	migrate_start --postcopy --tracker none --log-level info
	await 30 is_stopped_on b
	record=$T/state-b/$(migration_id).destination
	mkdir "$record.new" # where it is written before it is a record
	before=$(errors)
	for p in $(stopped_on b); do kill -CONT "$p"; done
	await 30 tried_again
}
cannot_be_written
subject_present a || fail "the original ended"
! gone "${pid[migrate]}" || fail "it is over"
grep -q '^late 1' "$record" || fail "the record: $(cat "$record")"
rmdir "$record.new"
finish migrate || fail "$(tail -n 3 "$T/migrate.err")"
[ "$(field outcome)" = moved ] || fail "$(field outcome)"
settled b
report "the original waits for the record"

cannot_be_written
program=$(processes_of a | while read -r p _; do [ "$(cat "/proc/$p/comm" 2> /dev/null)" != dray ] || echo "$p"; done)
kill -KILL $program
finish migrate || true
asked() { [ "$(grep -c ' ask-again ' "$T/migrate.err")" -ge 2 ]; }
await 30 asked
subject_present a || fail "the original ended when its keeper asked"
rmdir "$record.new"
settled b
report "who asks waits for it too"
