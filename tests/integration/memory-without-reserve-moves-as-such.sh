#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Mappings with MAP_NORESERVE are such after a move too, anonymous, of files and shared, written and only reserved, and those beside them are not: by pre-copy and by
# post-copy, also one that was made after the migration began.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
mkdir -m 777 "$T/zoo"

right() {
	rm -f "$T/zoo/verdict"
	touch "$T/zoo/request"
	await 60 test -e "$T/zoo/verdict"
	[ "$(cat "$T/zoo/verdict")" = ok ] || fail "$1: $(cat "$T/zoo/verdict")"
}
go_on() { local p; for p in $(stopped_on a); do kill -CONT "$p"; done; gone "${pid[migrate]}"; }

for how in "" --postcopy; do
	name=${how:-pre-copy}
	rm -f "$T/zoo/ready"
	start a subject "$BUILD/subjects/zoo" "$T/zoo" unreserved unreserved-later
	await 60 test -e "$T/zoo/ready"
	stopped_at source.armed ${how:+"$how"}
	right "$name, meanwhile"
	await 20 go_on
	finish migrate || fail "$name: $(tail -n 3 "$T/migrate.err")"
	[ "$(field outcome)" = moved ] || fail "$name: $(field outcome)"
	await 20 subject_absent a
	await 20 subject_present b
	right "$name, moved"
	subject_stop
	report "$name: without reserve"
done
