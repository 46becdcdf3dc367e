#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scripts/run-tests: a test that runs out of time is told and cleans up; one that leaves a process running fails, and the process is ended;
# a runner that is ended early takes its tests with it.
set -eu
runner=$(cd "$(dirname "$0")/../.." && pwd)/scripts/run-tests
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 143' TERM
fail() { echo "$*" >&2; cat "$T/out" >&2; exit 1; }
runs() { grep -qs '^State:.[^ZX]' "/proc/$1/status"; }
script() { cat > "$T/$1"; chmod 755 "$T/$1"; }

script passes <<< '#!/bin/sh'
script skips <<< '#!/bin/sh
echo no reason; exit 77'
script slow <<< "#!/bin/bash
trap 'echo told > $T/told; exit 1' TERM
echo \$\$ > $T/slow.pid
while :; do sleep 1; done"
script leaves <<< "#!/bin/sh
setsid sleep 1000 < /dev/null > /dev/null 2>&1 &
echo \$! > $T/left.pid"

"$runner" "$T/passes" "$T/skips" > "$T/out" || fail "a passed test and a skipped one are no failure"
[ "$(tail -n 1 "$T/out")" = "1 passed, 0 failed, 1 skipped" ] || fail "wrong sum"
grep -qx 'SKIP skips: no reason' "$T/out" || fail "no reason for the skipped"
! "$runner" "$T/skips" > "$T/out" || fail "nothing passed, and that is none"

! TEST_TIMEOUT=10 "$runner" "$T/slow" > "$T/out" || fail "out of time is no failure"
[ -e "$T/told" ] || fail "the slow test was not told"
grep -q 'no end within 10 s' "$T/out" || fail "no word about the time"

! "$runner" "$T/leaves" "$T/passes" > "$T/out" || fail "a process left behind is no failure"
! runs "$(cat "$T/left.pid")" || fail "the process left behind runs on"
grep -q 'left running: .*sleep 1000' "$T/out" || fail "it is not named"
[ "$(tail -n 1 "$T/out")" = "1 passed, 1 failed, 0 skipped" ] || fail "wrong sum"

rm "$T/told" "$T/slow.pid"
"$runner" "$T/slow" > "$T/out" 2>&1 &
early=$!
until [ -s "$T/slow.pid" ]; do sleep 0.02; done
kill -TERM "$early"
! wait "$early" || fail "ended early, and says that all is well"
[ -e "$T/told" ] || fail "the test was not told"
! runs "$(cat "$T/slow.pid")" || fail "the test runs on"
