#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The kernel writes into a thread's rseq area (glibc registers one for each) whenever the thread comes back from another processor, also while it runs calls of ours
# in the freeze, behind the last look at memory. With --verify all memory is compared there: never a mismatch, to and fro beside load. HOPS (6): how often.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
agent_start a
for i in 1 2 3; do start a "load$i" sh -c 'while :; do :; done'; done
subject_start --threads 8
to=b
for n in $(seq "${HOPS:-6}"); do
	from=$(other $to)
	start "$from" migrate "$DRAY" migrate "${inner[subject]}" "${host_addr[$to]}:$PORT" --state-dir "$T/state-$from.m" --json --verify
	rc=0; finish migrate || rc=$?
	told_right "$rc" b
	[ "$(field verified)" = True ] || fail "hop $n: not verified"
	to=$from
done
for i in 1 2 3; do end "load$i"; done
runs_only_on "$(other $to)"
subject_stop
report "$n migrations"
