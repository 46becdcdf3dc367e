#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A mapping that grows downwards (MAP_GROWSDOWN) beside the stack grows on after the move, by pre-copy and by post-copy: one that grew while it was being moved,
# and one that was made meanwhile.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
mkdir -m 777 "$T/zoo"

grows() {
	rm -f "$T/zoo/verdict"
	touch "$T/zoo/request"
	await 60 test -e "$T/zoo/verdict"
	[ "$(cat "$T/zoo/verdict")" = ok ] || fail "$1: $(cat "$T/zoo/verdict")"
}
go_on() { local p; for p in $(stopped_on a); do kill -CONT "$p"; done; gone "${pid[migrate]}"; }

for how in "" --postcopy; do
	name=${how:-pre-copy}
	rm -f "$T/zoo/ready"
	start a subject "$BUILD/subjects/zoo" "$T/zoo" memory growing growing-later
	await 60 test -e "$T/zoo/ready"
	stopped_at source.round ${how:+"$how"}
	grows "$name, meanwhile"
	await 20 go_on
	finish migrate || fail "$name: $(tail -n 3 "$T/migrate.err")"
	[ "$(field outcome)" = moved ] || fail "$name: $(field outcome)"
	await 20 subject_absent a
	await 20 subject_present b
	grows "$name, moved"
	grows "$name, once more"
	subject_stop
	report "$name: it grows on"
done
