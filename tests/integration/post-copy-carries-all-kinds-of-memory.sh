#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# By post-copy goes whatever else goes: memory that is shared, of files, of memfds, locked, advised; threads that wait in many ways; huge pages that many
# threads touch at once. What can't come late comes inside the freeze.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
KINDS="mapped-files advice memfd threads robust signals timers attributes pipe eventfd"

mkdir -m 777 "$T/zoo"
# shellcheck disable=SC2086
start a subject "$BUILD/subjects/zoo" "$T/zoo" $KINDS
await 60 test -e "$T/zoo/ready"
migrate --postcopy --tracker none || fail "the zoo: $(tail -n 3 "$T/migrate.err")"
[ "$(field outcome)" = moved ] || fail "the zoo: $(field outcome)"
[ "$(field late_pages)" -gt 0 ] || fail "nothing of the zoo came late"
await 20 subject_absent a
await 20 subject_present b
touch "$T/zoo/request"
await 60 test -e "$T/zoo/verdict"
[ "$(cat "$T/zoo/verdict")" = ok ] || fail "the zoo: $(cat "$T/zoo/verdict")"
subject_stop
report "the zoo: $(field late_pages) pages late"

moves() { # what, workload option...
	local what=$1
	shift
	subject_start --size 64M --rate 0 "$@"
	migrate --postcopy || fail "$what: $(tail -n 3 "$T/migrate.err")"
	settled b
	report "$what: $(field late_pages) pages late, $(field late_faults) waited for"
}
moves "threads" --threads 8
moves "huge pages" --threads 8 --thp on
moves "more scattered pages than are told one by one" --size 256M --pattern uniform
moves "locked memory" --threads 4 --lock
[ "$(field late_pages)" -lt 4096 ] || fail "locked memory came late: $(field late_pages) pages"
