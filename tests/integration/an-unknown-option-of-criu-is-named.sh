#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# No option of criu's is dropped in silence: one that is not known, one that can't be done and one with a wrong value are named, exit 1,
# and the process that was to be dumped is left alone.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
mkdir "$T/i"
launch sleep 1000
refused() { fails 1 "$1" criu dump -t "$subject" -D "$T/i" "${@:2}"; }
refused '--nonsense: no such option' --nonsense
refused '-q: no such option' -q
refused '--leave: several options begin like that' --leave
refused '--timeout: wants a value' --timeout
refused '--leave-running: takes no value' --leave-running=1
refused "--ghost-limit: 'much'" --ghost-limit much
refused "--manage-cgroups: 'some'" --manage-cgroups=some
refused '--stream is not supported' --stream
refused 'option root is not supported' --root /
refused 'option external is not supported' --external 'mnt[]'
refused 'neither --address nor --ps-socket' --page-server
fails 1 'option join_ns is not supported' criu restore -D "$T/i" -J net:1
fails 2 '--nonsense: no such option' "$BUILD/dray" dump -t "$subject" -D "$T/i" --nonsense
[ -z "$(ls -A "$T/i")" ] || fail "something was written: $(ls "$T/i")"
[ "$(sed 's/.*) \(.\).*/\1/' "/proc/$subject/stat")" = S ] || fail "the process was touched"
echo "ok: named"
