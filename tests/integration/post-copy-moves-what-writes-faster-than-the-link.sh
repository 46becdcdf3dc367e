#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process that writes faster than the link carries never converges; with --on-stall postcopy it moves all the same, and so it does at once with
# --postcopy: it runs at the destination before all its pages are there, gets those first that it waits for, and every byte is right.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
# So that it does also where it gets little of the processor.
on a tc qdisc add dev "dv$$a" root tbf rate 800mbit burst 1mb latency 50ms 2> /dev/null || report "no link that is slow on purpose"
moves_late() { # what, option...
	local what=$1
	shift
	subject_start --size 64M --rate 0
	migrate "$@" || fail "$what: $(tail -n 3 "$T/migrate.err")"
	[ "$(field outcome)" = moved ] || fail "$what: $(field outcome)"
	[ "$(field late_pages)" -gt 100 ] || fail "$what: only $(field late_pages) pages came late"
	[ "$(field late_faults)" -gt 0 ] || fail "$what: nobody waited for any page"
	event_seen late-pages || fail "$what: no event says that the pages are there"
	settled b
	report "$what: $(field late_pages) pages late, $(field late_faults) waited for"
}
moves_late "at once" --postcopy
moves_late "no tracker, so everything" --postcopy --tracker none
moves_late "at a stall" --on-stall postcopy --downtime-limit 5 --max-rounds 4

# Nothing is late where rounds do.
subject_start --size 8M --rate 1
migrate --on-stall postcopy --downtime-limit 60000 || fail "$(tail -n 3 "$T/migrate.err")"
[ "$(field late_pages)" = 0 ] || fail "a quiet process had $(field late_pages) late pages"
settled b
