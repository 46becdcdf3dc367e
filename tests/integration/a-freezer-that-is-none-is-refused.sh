#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --freeze-cgroup of what is no control group, or not there, is refused by name before anything is written: in a dump, and in a pre-dump, whether its tracker
# has to stop the process or not.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
mkdir "$T/i" "$T/0" "$T/plain"
touch "$T/file"
workload
for verb in pre-dump dump; do
	fails 1 "$T/plain is no control group with a freezer" criu "$verb" -t "$subject" -D "$T/i" --freeze-cgroup "$T/plain"
	fails 1 "$T/gone" criu "$verb" -t "$subject" -D "$T/i" --freeze-cgroup "$T/gone"
	fails 1 "$T/file" criu "$verb" -t "$subject" -D "$T/i" --freeze-cgroup="$T/file"
	[ -z "$(ls -A "$T/i")" ] || fail "$verb: something was written: $(ls -A "$T/i")"
done
fails 2 "$T/plain is no control group with a freezer" "$BUILD/dray" pre-dump -t "$subject" -D "$T/i" --freeze-cgroup "$T/plain"
criu pre-dump -t "$subject" -D "$T/0" || fail "pre-dump"
fails 1 "$T/plain is no" criu pre-dump -t "$subject" -D "$T/i" --prev-images-dir ../0 --freeze-cgroup "$T/plain" # tracked already: nothing has to be armed
workload_right
echo "ok: refused"
