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
sleeper
refused() { fails 1 "$1" criu dump -t "$subject" -D "$T/i" "${@:2}"; }
refused '--nonsense: no such option' --nonsense
refused '-q: no such option' -q
refused '--leave: several options begin like that' --leave
refused '--timeout: wants a value' --timeout
refused '--leave-running: takes no value' --leave-running=1
refused "--ghost-limit: 'much'" --ghost-limit much
refused "--manage-cgroups: 'some'" --manage-cgroups=some
refused '--stream is not supported' --stream
refused '--root is not supported' --root /
refused '--external is not supported' --external 'mnt[]'
refused '--manage-cgroups is not supported' --manage-cgroups=full
refused '--tree: 0 is no process' -t 0
refused 'neither --address nor --ps-socket' --page-server
refused 'neither --address and --port nor --ps-socket say' --page-server --address 127.0.0.1
refused '--port: 70000 is none' --page-server --address 127.0.0.1 --port 70000
refused '--tls and --ps-socket exclude each other' --tls --page-server --ps-socket 0
refused '--ps-socket 77' --page-server --ps-socket 77
refused '--ps-socket 0 is no stream socket' --page-server --ps-socket 0
refused '--mntns-compat-mode is for a restore only' --mntns-compat-mode
fails 1 '--inherit-fd 77' criu restore -D "$T/i" --inherit-fd 'fd[77]:x'
fails 1 '--join-ns is not supported' criu restore -D "$T/i" -J net:1
fails 2 '--nonsense: no such option' "$BUILD/dray" dump -t "$subject" -D "$T/i" --nonsense
[ -z "$(ls -A "$T/i")" ] || fail "something was written: $(ls "$T/i")"
[ "$(sed 's/.*) \(.\).*/\1/' "/proc/$subject/stat")" = S ] || fail "the process was touched"
echo "ok: named"
