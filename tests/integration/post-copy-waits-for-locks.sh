#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# By post-copy threads that wait for a lock which the kernel changes itself go on waiting, and get it: such a call does not wait for its page, which is there before.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
for tracker in none auto; do
	rm -f "$T/ready" "$T/go" "$T/verdict"
	start a subject "$BUILD/tests/programs/locks" "$T"
	await 60 test -e "$T/ready"
	migrate --postcopy --tracker $tracker || fail "$tracker: $(tail -n 3 "$T/migrate.err")"
	[ "$tracker" = auto ] || [ "$(field late_pages)" -gt 0 ] || fail "nothing came late"
	touch "$T/go"
	await 60 test -e "$T/verdict"
	[ "$(cat "$T/verdict")" = ok ] || fail "tracker $tracker: $(cat "$T/verdict")"
	await 20 subject_absent b
	report "tracker $tracker: $(field late_pages) pages late"
done
