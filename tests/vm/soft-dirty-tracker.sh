#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Soft-dirty tracking misses nothing: the cases and the property test on a kernel that has it, with swap so that pages leave memory meanwhile; and
# neither do image directories that are made by it, in rounds by callers that share nothing.
. "$(dirname "$0")/../lib/vm.sh"
not_sanitized
guest='
modprobe zram && echo 128M > /sys/block/zram0/disksize && mkswap /dev/zram0 > /dev/null && swapon /dev/zram0 || echo "no swap here"
"$3" && "$1" soft-dirty "$2" && "$1" none 2 && "$4" 4 && "$5" || exit 1
grep -E "^(pswpout|pswpin|thp_fault_alloc) " /proc/vmstat'
exec tests/vm/run-in-vm --timeout 560 -- sh -c "$guest" sh "$BUILD/tests/integration/tracker_property" "${SEEDS:-6}" \
	"$BUILD/tests/integration/tracker_cases" "$BUILD/tests/integration/sets-of-rounds-are-the-memory" \
	"$BUILD/tests/integration/a-parent-is-believed-only-where-it-was-tracked-from"
