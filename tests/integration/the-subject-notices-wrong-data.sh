#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the other tests lean on: a subject whose memory was changed under it, one page put back to an older state, or of which two copies ran, says so.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
hosts_up
verdict() {
	rm -f "$T/verdict"
	kill -USR1 "${pid[subject]}"
	await 20 test -e "$T/verdict"
	grep -o '"verdict":"[a-z]*"' "$T/verdict"
}
# Changes the subject's largest mapping. flip: one bit of a page in its middle. old: the first page that is written again, back to what it was.
tamper() {
	"$PYTHON" - "${pid[subject]}" "$1" <<'PY'
import sys, time
pid, how = sys.argv[1:]
maps = [l.split() for l in open("/proc/%s/maps" % pid)]
ranges = [[int(x, 16) for x in m[0].split("-")] for m in maps if m[1] == "rw-p" and m[4] == "0"]
start, end = max(ranges, key=lambda r: r[1] - r[0])
with open("/proc/%s/mem" % pid, "r+b", buffering=0) as mem:
    def get(at, n): mem.seek(at); return mem.read(n)
    def put(at, data): mem.seek(at); mem.write(data)
    if how == "flip":
        at = start + (end - start) // 2 + 123
        put(at, bytes([get(at, 1)[0] ^ 1]))
    else:
        before = get(start, end - start)
        while True:
            now = get(start, end - start)
            at = next((i for i in range(0, len(now), 4096) if now[i:i + 4096] != before[i:i + 4096]), None)
            if at is not None:
                break
            time.sleep(0.01)
        put(start + at, before[at:at + 4096])
PY
}
for how in flip old; do
	for data in random text heap; do
		subject_start --data $data --size 16M --rate 0.05 --threads 1
		[ "$(verdict)" = '"verdict":"right"' ] || fail "wrong from the start: $(cat "$T/verdict")"
		tamper $how
		[ "$(verdict)" = '"verdict":"wrong"' ] || fail "$how, $data: not noticed: $(cat "$T/verdict")"
		subject_stop
		report "$how, $data: noticed"
	done
done
subject_start
advances
beats_right || fail "its count is wrong from the start"
echo "$(beats)" >> "$T/beat"
! beats_right 2> /dev/null || fail "a second copy would not be noticed"
subject_stop
report "a second copy: noticed"
