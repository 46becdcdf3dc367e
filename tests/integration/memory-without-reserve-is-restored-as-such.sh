#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Mappings with MAP_NORESERVE have it after a dump and a restore, anonymous, of files and shared, written and only reserved, and those beside them have it not.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
mkdir "$T/i"
zoo unreserved
zoo_right
criu dump -t "$subject" -D "$T/i" || fail "dump"
ended
criu restore -D "$T/i" -d || fail "restore"
zoo_right
echo "ok: without reserve"
