#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dray(1) names every exit code that the program has.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
wired
codes=$(sed -n 's/^\t\[ERR_[A-Z]*\] = { "[a-z]*", \([0-9]*\) },/\1/p' "$hosts_root/proto/base/err.c" | sort -nu)
[ "$(echo "$codes" | wc -l)" -gt 5 ] || fail "the table was not read"
page=$hosts_root/docs/dray.1
[ -e "$page" ] || page=$(find "$hosts_root/docs" -name dray.1 | head -n 1)
[ -n "$page" ] || fail "no dray.1"
section=$(sed -n '/^\.Sh EXIT STATUS/,/^\.Sh [^E]/p' "$page")
for c in $codes; do
	echo "$section" | grep -qE "^\.It (Er |Sy |Li |Ic |Cm )?$c\$" || fail "exit code $c is not in EXIT STATUS"
done
