#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A lazy dump leaves the pages that may come late with the task, serves them to a client that asks as criu's lazy-pages daemon does (headers of either
# length), and gives the task its final state afterwards. A client that ends too early has failed: the task runs on, and no set is left.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"
[ -r /usr/lib/python3/dist-packages/pycriu/__init__.py ] || skip "needs pycriu (package criu)"
hosts_up
imager() { start a imager "$BUILD/tests/programs/imager" "${inner[subject]}" "$@"; }
client() { on a /usr/bin/python3 "$LIB/lazy_client.py" "$T/sock" "$T/$1" "${inner[subject]}" "$2" "$3"; }
written() { test -e "$T/$1/inventory.img"; }

subject_start --size 16M --rate 1
for layout in 24 32; do
	imager "dump,$T/set-$layout,lazy=$T/sock,run"
	await 20 written "set-$layout"
	pages=$(client "set-$layout" "$layout" close)
	finish imager || fail "the dump failed: $(cat "$T/imager.err")"
	[ "$pages" -gt 4000 ] || fail "only $pages pages of 16 MiB were left with the task"
	[ "$(stat -c %s "$T/set-$layout/pages-1.img")" -lt 4000000 ] || fail "pages were stored that were to be left"
	advances
	rm "$T/sock"
done
imager "dump,$T/cut,lazy=$T/sock"
await 20 written cut
client cut 24 cut
! finish imager || fail "a client that was cut off counts as one that has all its pages"
grep -q 'client ended' "$T/imager.err" || fail "no word about why: $(cat "$T/imager.err")"
! written cut || fail "a set that can't be whole was left"
rm "$T/sock"
advances
subject_right a

imager "dump,$T/kill,lazy=$T/sock"
await 20 written kill
client kill 32 close > /dev/null
finish imager || fail "$(cat "$T/imager.err")"
await 10 subject_absent a
