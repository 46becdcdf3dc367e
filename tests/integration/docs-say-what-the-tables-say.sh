#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The tables in docs/ that are made from the program's are those of the program, word for word; `make docs-tables` brings them in line.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
dray=${BUILD:-$root/build}/dray
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
seen=0
for page in $(grep -l '^<!-- dray --doc ' "$root"/docs/*.md); do
	"$root/scripts/doc-tables" "$dray" "$page" > "$T/page"
	diff -u "$page" "$T/page" || { echo "$(basename "$page") differs: run make docs-tables" >&2; exit 1; }
	seen=$((seen + $(grep -c '^<!-- dray --doc ' "$page")))
done
[ "$seen" -ge 3 ] || { echo "only $seen tables are made from the program's" >&2; exit 1; }
