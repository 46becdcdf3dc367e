#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The options in the man pages are those of the program, word for word; `make man` brings them in line.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
dray=${BUILD:-$root/build}/dray
! "$dray" 2>&1 | grep -q 'not wired yet' || { echo "the program is not wired yet"; exit 77; }
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
seen=0
for page in "$root"/docs/man/*.[1-8]; do
	"$root/scripts/man-options" "$dray" "$page" > "$T/page"
	diff -u "$page" "$T/page" || { echo "$(basename "$page") differs: run make man" >&2; exit 1; }
	seen=$((seen + $(grep -c '^\.\\" options ' "$page")))
done
[ "$seen" -ge 3 ] || { echo "only $seen verbs have their options in a man page" >&2; exit 1; }
