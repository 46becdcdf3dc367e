#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The wire breaks before or behind any message of the control connection, or within the data: exactly one copy runs. So it does where the two sides don't mean the same pages: the one
# that hears of others says so, and the original runs on.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
RECORDS=1
faults_begin
is_ready() { grep -q '^ready' "$T/cutter.out"; }
# number of the message (proto/wire/control.h), its name, who lives when it is lost, who when it arrived
while read -r type name lost arrived; do
	for when in before after; do
		[ "$when" = before ] && lives=$lost || lives=$arrived
		start b cutter "$PYTHON" "$LIB/cutter.py" "${host_addr[b]}:7472" "${host_addr[b]}:$PORT" "$when" "$type"
		await 10 is_ready
		subject_start
		rc=0; TO=${host_addr[b]}:7472 migrate || rc=$?
		await 10 grep -q '^cut' "$T/cutter.out"
		[ "$name" = done ] || told_right "$rc" "$lives"
		end cutter
		settled "$lives"
		report "wire broke $when $name: runs on $lives"
	done
done <<-LIST
	hello hello a a
	1 offer a a
	2 offer-reply a a
	3 round-begin a a
	4 round-ready a a
	data data a a
	5 round-end a a
	6 round-done a a
	7 state a a
	8 prepared a a
	9 commit a b
	10 running b b
	16 done b b
LIST
while read -r type name words; do
	start b cutter "$PYTHON" "$LIB/cutter.py" "${host_addr[b]}:7472" "${host_addr[b]}:$PORT" mangle "$type"
	await 10 is_ready
	subject_start
	rc=0; TO=${host_addr[b]}:7472 migrate || rc=$?
	grep -q '^cut' "$T/cutter.out" || fail "$name was not mangled"
	told_right "$rc" a
	said "$words"
	end cutter
	settled a
	report "$name of other pages: runs on a"
done <<-LIST
	8 prepared the destination prepared other pages than were sent
	9 commit the source commits other pages than were placed
LIST
