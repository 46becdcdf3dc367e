#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A process moves right whatever the way: streams, compression, tracker, huge pages, a limit of bandwidth, a PID namespace of its own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
# A sanitizer's search for leaks hangs at the end of a process that has joined a PID namespace (--pid new).
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
faults_begin
while read -r options; do
	subject=${options%%|*} migrate=${options#*|}
	# shellcheck disable=SC2086
	subject_start $subject
	# shellcheck disable=SC2086
	rc=0; migrate $migrate || rc=$?
	told_right "$rc" b
	settled b
	report "workload $subject; migrate $migrate"
done <<-LIST
	--data random|--streams 1
	--data text --pattern sequential|--streams 4 --compress lz4
	--data random --size 32M|--streams 16 --compress none
	--data zero --size 32M|--compress auto
	--thp on --size 64M --pattern zipf|--streams 2
	--thp off --pattern hot --rate 40|--downtime-limit 1000 --max-rounds 2
	--data heap|--tracker none
	--data heap|--tracker wp-async
	--data random|--verify
	--data random --size 16M|--max-bandwidth 100M
	--data heap|--pid new
	--data heap|--pid same
LIST
