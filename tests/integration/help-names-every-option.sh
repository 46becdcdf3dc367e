#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `dray VERB --help` works for anyone and names every option of the verb's table; unknown ones are refused by name.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dray=${BUILD:-$here/../../build}/dray
! "$dray" 2>&1 | grep -q 'not wired yet' || { echo "the program is not wired yet"; exit 77; }
fail() { echo "$*" >&2; exit 1; }
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT

"$dray" --help > "$T/verbs" || fail "--help ended with $?"
"$dray" --version | grep -qE '^dray [0-9]+\.[0-9]+' || fail "--version"
for verb in migrate agent recover page-server service status dump pre-dump restore check cpuinfo dedup; do
	grep -q "^  $verb " "$T/verbs" || fail "--help does not name $verb"
	"$dray" "$verb" --help > "$T/help" || fail "$verb --help ended with $?"
	options=$("$dray" --man-options "$verb" | sed -n 's/^\.It .*Fl -\([a-z-]*\).*/\1/p')
	[ "$(echo "$options" | wc -l)" -ge 4 ] || fail "$verb: no options in its table"
	for o in $options; do grep -q -- "--$o\( \|\$\)" "$T/help" || fail "$verb --help does not name --$o"; done
	rc=0; "$dray" "$verb" --nonsense > /dev/null 2> "$T/err" || rc=$?
	[ "$rc" = 2 ] || fail "$verb --nonsense: exit $rc, not 2"
	grep -q -- '--nonsense: no such option' "$T/err" || fail "not named: $(cat "$T/err")"
done
rc=0; "$dray" fly 2> "$T/err" || rc=$?
[ "$rc" = 2 ] || fail "an unknown verb: exit $rc, not 2"
grep -q 'fly: no such verb' "$T/err" || fail "not named: $(cat "$T/err")"
rc=0; "$dray" > /dev/null 2>&1 || rc=$?
[ "$rc" = 2 ] || fail "no verb: exit $rc, not 2"
rc=0; "$dray" migrate --help > /dev/full 2> /dev/null || rc=$?
[ "$rc" != 0 ] || fail "help that could not be written counts as success"
