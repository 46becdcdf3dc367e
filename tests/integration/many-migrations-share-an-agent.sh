#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Four processes move to one agent at once, one of them is cut off: the others arrive.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
n=4
for i in $(seq $n); do
	mkdir -p "$T/$i"
	start a "s$i" "$SUBJECT" --size 16M --rate 4 --verify --beat "$T/$i/beat" --report "$T/$i/verdict" --ready "$T/$i/ready"
done
for i in $(seq $n); do await 30 test -e "$T/$i/ready"; done
for i in $(seq $n); do
	start a "m$i" env $([ "$i" != 2 ] || echo DRAY_FAULT=source.round:cut) "$DRAY" migrate "${inner[s$i]}" "$agent_addr" \
		--state-dir "$T/state-a" --json
done
for i in $(seq $n); do
	rc=0; finish "m$i" || rc=$?
	[ "$i" = 2 ] && lives=a || lives=b
	if [ $lives = b ]; then [ "$rc" = 0 ] || { cat "$T/m$i.err" >&2; fail "$i: exit $rc"; }
	else [ "$rc" != 0 ] || fail "$i: cut, and yet it moved"; fi
	p=$(process_there $lives "${inner[s$i]}") || fail "$i is not on $lives"
	! process_there "$(other $lives)" "${inner[s$i]}" > /dev/null || fail "$i is on both"
	kill -USR1 "$p"
	await 20 test -e "$T/$i/verdict"
	grep -q '"right"' "$T/$i/verdict" || fail "$i: $(cat "$T/$i/verdict")"
	awk '$1 != NR { exit 1 }' "$T/$i/beat" || fail "$i ran twice"
	report "$i runs on $lives"
done
