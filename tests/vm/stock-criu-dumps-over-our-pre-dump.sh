#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A directory of ours is a parent for stock criu's final dump, and one of stock's for ours: only what changed is stored, and what is restored is right.
. "$(dirname "$0")/../lib/vm.sh"
needs criu
in_vm 560
. tests/lib/images.sh

stock() { # VERB DIR [OPTION...]
	mkdir -p "$2"
	criu "$1" -D "$2" -v4 -o "$1.log" "${@:3}" || { grep Error "$2/$1.log"; fail "criu $1 into $2"; }
}
written() { crit show "$1/stats-dump" | sed -n 's/.*"pages_written": \([0-9]*\).*/\1/p'; }

workload
imager pre-dump,"$T/0"
imager pre-dump,"$T/1",parent=../0
stock dump "$T/2" -t "$subject" --track-mem --prev-images-dir ../1
ended
whole=$(head -n 1 "$T/imager.out" | sed 's/.* written=\([0-9]*\).*/\1/')
[ "$(written "$T/2")" -lt $((whole / 2)) ] || fail "stock wrote $(written "$T/2") of $whole pages: it did not take our directory for a parent"
stock restore "$T/2" -d
workload_right
kill -KILL "$subject"
echo "ok: $(written "$T/2") of $whole pages in stock's dump over our pre-dumps"

workload
stock pre-dump "$T/3" -t "$subject"
stock pre-dump "$T/4" -t "$subject" --prev-images-dir ../3
imager dump,"$T/5",parent=../4,track
ended
[ "$(told written)" -lt $((whole / 2)) ] || fail "$(told written) of $whole pages: stock's directory was not taken for a parent"
stock restore "$T/5" -d
workload_right
kill -KILL "$subject"
echo "ok: $(told written) of $whole pages in our dump over stock's pre-dumps"
