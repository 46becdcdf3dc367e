#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What failed leaves nothing that looks like a set: no page map, no pages, no other image. A set that was in the directory is there as it was, and its parents
# have all their pages, --auto-dedup or not. The log stays, the process runs on, and the next try finds room.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
[ "$(id -u)" = 0 ] || { echo "not root"; exit 77; }
mounted=
leave() {
	finish_images 2> /dev/null || true
	[ ! "$mounted" ] || umount "$T/small"
	finish_images
}
trap leave EXIT
printf '#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-dump ]\n' > "$T/refuse"
chmod 755 "$T/refuse"
holds() { (cd "$T/$1" && find . -mindepth 1 ! -name '*.log' | sort); }
contents() { (cd "$T/$1" && find . -type f ! -name '*.log' -print0 | sort -z | xargs -0 sha256sum; find . -type l -printf '%p %l\n'); }
blocks() { (cd "$T/$1" && stat -c '%n %b' pages-*.img); }
refused() { fails 1 'ended with 1' criu dump -t "$subject" "$@" --action-script "$T/refuse"; }

mkdir "$T/fresh" "$T/0" "$T/1" "$T/2" "$T/small"
workload
refused -D "$T/fresh" -o dump.log --cpu-cap=all
[ -s "$T/fresh/dump.log" ] || fail "the log is gone"
[ -z "$(holds fresh)" ] || fail "left: $(holds fresh)"

criu pre-dump -t "$subject" -D "$T/0" || fail "pre-dump"
criu dump -t "$subject" -D "$T/1" --prev-images-dir ../0 --track-mem -R || fail "dump"
before=$(contents 0; contents 1; blocks 0)
refused -D "$T/1" --track-mem --cpu-cap=all --auto-dedup
refused -D "$T/2" --prev-images-dir ../0 --track-mem --auto-dedup
[ "$(contents 0; contents 1; blocks 0)" = "$before" ] || fail "not as it was: $(contents 0; contents 1; blocks 0)"
[ -z "$(holds 2)" ] || fail "left: $(holds 2)"
echo "ok: refused at post-dump"

# no room for all the pages
mount -t tmpfs -o size=8M tmpfs "$T/small" || { echo "can't mount"; exit 77; }
mounted=1
for verb in pre-dump dump; do
	fails 1 'No space left' criu "$verb" -t "$subject" -D "$T/small" -W "$T"
	[ -z "$(holds small)" ] || fail "$verb: left: $(holds small)"
done
workload_right
echo "ok: a full disk"

criu dump -t "$subject" -D "$T/2" --prev-images-dir ../0 --track-mem --auto-dedup || fail "the next dump"
ended
criu restore -D "$T/2" -d || fail "restore"
workload_right
echo "ok: the next try"
