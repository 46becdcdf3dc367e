#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make deps: as somebody who may not install, prints the line that would, and fails; with everything there it says so.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
fail() { echo "$*" >&2; exit 1; }
command -v dpkg-query > /dev/null || { echo "no dpkg here"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "needs root to become somebody else"; exit 77; }
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
chmod 755 "$T"
cp "$root/scripts/deps" "$T/deps" # the tree may lie where nobody else may look
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$T/deps" "$@"; }

rc=0; as_nobody dpkg no-such-package-1 no-such-package-2 > "$T/out" 2> "$T/err" || rc=$?
[ "$rc" = 1 ] || fail "exit $rc, not 1"
grep -qx '  apt-get install -y --no-install-recommends no-such-package-1 no-such-package-2' "$T/err" || fail "no line: $(cat "$T/err")"
[ ! -s "$T/out" ] || fail "on the wrong stream: $(cat "$T/out")"
[ "$(as_nobody dpkg)" = "everything is installed" ] || fail "does not say that all is there"
[ -z "$(as_nobody --quiet dpkg)" ] || fail "--quiet speaks"
