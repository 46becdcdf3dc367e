#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a pre-dump tracked is taken up by the next caller; of two at once one goes on with it and the other's set is whole too; nothing is left when the
# process ends.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
[ "$(id -u)" = 0 ] || { echo "not root"; exit 77; }
left() { find "$T/trackers" -mindepth 1 2> /dev/null | wc -l; }

sleeper
imager pre-dump,"$T/probe"
[ "$(left)" -gt 0 ] || { echo "no tracker on this kernel"; exit 77; }
case $(ls "$T/trackers") in
*.sock) await 10 pgrep -x dray-tracker > "$T/holders" ;;
esac
kill -KILL "$subject"
# soft-dirty: a record, which the next caller sweeps
empty() { [ "$(left)" = 0 ]; }
case $(ls "$T/trackers") in *.sock) await 10 empty ;; esac
echo "ok: it ends with the process"

workload --rate 0.2
imager pre-dump,"$T/0"
whole=$(told written)
imager pre-dump,"$T/1",parent=../0
believed=$(told written)
[ "$believed" -lt $((whole / 2)) ] || fail "$believed of $whole pages in the second round"
[ "$(find "$T/trackers" -name "$subject-*" | wc -l)" = 1 ] || fail "left: $(ls "$T/trackers")"

# Taken by two at once: one goes on, the other compares, both sets are whole.
"$BUILD/tests/programs/imager" "$subject" pre-dump,"$T/2",parent=../1 > "$T/one.out" 2> "$T/one.err" &
first=$!
"$BUILD/tests/programs/imager" "$subject" pre-dump,"$T/3",parent=../1 > "$T/two.out" 2> "$T/two.err" || second_failed=1
wait $first || first_failed=1
[ -z "${first_failed:-}" ] || [ -z "${second_failed:-}" ] || fail "both failed: $(cat "$T/one.err" "$T/two.err")"
for out in one two; do
	[ ! -s "$T/$out.out" ] || [ $(($(sed 's/.* parent=\([0-9]*\).*/\1/' "$T/$out.out") + $(sed 's/.* written=\([0-9]*\).*/\1/' "$T/$out.out"))) -ge "$whole" ] ||
		fail "a set is not whole: $(cat "$T/$out.out")"
done
workload_right
[ -z "${first_failed:-}" ] && last=2 || last=3
imager dump,"$T/4",parent=../$last,track,run
workload_right
kill -KILL "$subject"
echo "ok: $whole pages, then $believed by the tracker's word"
