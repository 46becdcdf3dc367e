#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Stock criu accepts the cpuinfo.img that we write, comparing everything, and we accept its. It is the same file, byte for byte.
. "$(dirname "$0")/../lib/vm.sh"
needs criu
in_vm 400

mkdir "$t/ours" "$t/stocks"
fail() { echo "FAILED: $*"; exit 1; }
"$BUILD/dray" criu cpuinfo dump -D "$t/ours" || fail "our dump"
criu cpuinfo dump -D "$t/stocks" || fail "stock's dump"
for caps in fpu ins cpu all; do
	criu cpuinfo check -D "$t/ours" --cpu-cap=$caps || fail "stock refuses ours: $caps"
	"$BUILD/dray" criu cpuinfo check -D "$t/stocks" --cpu-cap=$caps || fail "we refuse stock's: $caps"
done
cmp "$t/ours/cpuinfo.img" "$t/stocks/cpuinfo.img" || fail "not the same file"
echo "ok: one file"
