#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Called criu, the program has criu's version line, verbs and exit codes; `dray criu` is the same; dray's own name keeps dray's exit codes.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh

for version in "criu --version" "criu -V" "criu dump -V" "$BUILD/dray criu --version"; do
	[ "$($version | head -n 1)" = "Version: 4.2" ] || fail "$version: $($version)"
done
criu --help | grep -q '^  swrk FD' || fail "--help does not list the verbs"
fails 1 'usage: criu VERB' criu
fails 1 'fly: no such verb' criu fly
fails 1 'fly: no such verb' "$BUILD/dray" criu fly
fails 1 'FD is missing' criu swrk
fails 1 "'4' is one argument too many" criu swrk 3 4
fails 1 'descriptor 0' "$BUILD/dray" criu swrk 0 # /dev/null
fails 1 'dump|check is missing' criu cpuinfo
fails 1 '--tree PID is missing' criu dump
fails 1 '--images-dir: open /nowhere' criu dump -t 1 -D /nowhere
fails 2 '--tree PID is missing' "$BUILD/dray" dump
fails 1 '--page-server wants --address and --port' criu lazy-pages -D "$T" --page-server

[ "$(criu check)" = "Looks good." ] || fail "criu check: $(criu check 2>&1)"
for feature in $(criu check --feature list); do
	rc=0
	criu check --feature "$feature" > "$T/out" 2> "$T/err" || rc=$?
	case $rc in
	0) grep -q "^$feature is supported" "$T/out" || fail "$feature: $(cat "$T/out")" ;;
	1) grep -q "not supported: $feature" "$T/err" || fail "$feature: $(cat "$T/err")" ;;
	*) fail "check --feature $feature: exit $rc" ;;
	esac
done
for feature in mem_dirty_track uffd-noncoop pidfd_store; do
	criu check --feature list | grep -qw "$feature" || fail "$feature is not listed"
done
fails 1 'x: no such feature' criu check --feature x
# Without the right to choose a PID nothing can be restored, and the check says so.
fails 1 'not supported: clone3_set_tid' setpriv --bounding-set -all --inh-caps -all --reuid 65534 --clear-groups "$T/bin/criu" check
grep -q '^Does not look good' "$T/out" || fail "check without rights: $(cat "$T/out")"
echo "ok: criu's words and exit codes"
