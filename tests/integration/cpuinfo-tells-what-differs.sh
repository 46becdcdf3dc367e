#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `cpuinfo check` accepts what this processor wrote, and names the instruction, register state or word of a processor that could more; what is
# compared is what --cpu-cap says. A dump with it writes the image, a restore with it looks at it.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
command -v crit > /dev/null || { echo "crit is not installed"; exit 77; }
mkdir "$T/i" "$T/more" "$T/d"

criu cpuinfo dump -D "$T/i"
for caps in '' --cpu-cap --cpu-cap=all --cpu-cap=fpu --cpu-cap=none; do
	# shellcheck disable=SC2086
	criu cpuinfo check -D "$T/i" $caps || fail "what was just written is refused: $caps"
done
fails 1 'cpuinfo.img' criu cpuinfo check -D "$T/more"

# Another processor: PYTHON on the image's x86 entry, e.
another() {
	crit decode -i "$T/i/cpuinfo.img" | /usr/bin/python3 -c '
import json, sys
image = json.load(sys.stdin)
e = image["entries"][0]["x86_entry"][0]
exec(sys.argv[1])
json.dump(image, sys.stdout)' "$1" > "$T/more/json"
	crit encode -i "$T/more/json" -o "$T/more/cpuinfo.img"
}
another 'e["capability"][6] |= 1 << 21 | 1 << 16' # of processors that are made no more
fails 1 'lacks instructions that the image'"'"'s has: fma4 tbm' criu cpuinfo check -D "$T/more"
criu cpuinfo check -D "$T/more" --cpu-cap=fpu || fail "instructions are compared though only fpu is asked for"
another 'e["xfeatures_mask"] |= 1 << 40'
fails 1 'XCR0 bits 0x10000000000' criu cpuinfo check -D "$T/more"
criu cpuinfo check -D "$T/more" --cpu-cap=ins || fail "register state is compared though only ins is asked for"
another 'e["xsave_size"] += 64'
fails 1 'register state of' criu cpuinfo check -D "$T/more"
another 'e["capability"][14] ^= 1 << 30' # nothing that programs use
criu cpuinfo check -D "$T/more" || fail "what programs don't use is compared"
fails 1 'capability word 14 (CPUID 6 eax)' criu cpuinfo check -D "$T/more" --cpu-cap=cpu
another 'e["capability_ver"] = 9'
fails 1 'version 9' criu cpuinfo check -D "$T/more" --cpu-cap=none

sleeper
criu dump -t "$subject" -D "$T/d" --cpu-cap=ins || fail "dump"
ended
[ -s "$T/d/cpuinfo.img" ] || fail "no cpuinfo.img from a dump with --cpu-cap"
another 'e["capability"][6] |= 1 << 21'
cp "$T/more/cpuinfo.img" "$T/d/cpuinfo.img"
fails 1 'tbm' criu restore -d -D "$T/d" --cpu-cap=ins
criu restore -d -D "$T/d" || fail "restore without --cpu-cap"
echo "ok: differences are named"
