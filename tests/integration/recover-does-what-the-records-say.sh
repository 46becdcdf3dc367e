#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dray recover and the records of processes that stand still: one that was never committed runs on, one that is kept stays as it is unless it is said what to do, of one that may run elsewhere
# nothing is decided while nobody answers, and what belongs to another migration, to one under way or to a boot before is left alone.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
DRAY=${BUILD:-$root/build}/dray
T=$(mktemp -d "${TMPDIR:-/tmp}/dray-test.XXXXXX") || exit 1
pids=()
finish() {
	[ "${#pids[@]}" = 0 ] || kill -KILL "${pids[@]}" 2> /dev/null
	rm -rf "$T"
}
trap finish EXIT
trap 'exit 143' TERM INT
fail() { echo "FAILED: $*" >&2; cat "$T/out" >&2; exit 1; }
await() {
	local end=$((${EPOCHREALTIME/./} + 60000000))
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || fail "never came true: $*"
		sleep 0.02
	done
}
field() { sed 's/.*) //' "/proc/${pid[$1]}/stat" | cut -d ' ' -f "$2"; }
stands() { [ "$(field "$1" 1)" = T ]; }
runs() { [ "$(field "$1" 1)" = S ]; }
ended() { ! [ -e "/proc/${pid[$1]}/exe" ]; }
id() { printf '%s%031d' "$1" 0; } # of a name of one hex digit
record() { echo "$T/state/$(id "$1").source"; }
boot=$(cat /proc/sys/kernel/random/boot_id)
declare -A pid
# a process that stands still, and what is written down of it
frozen() { # NAME STATE [PEER [BOOT]]
	sleep 100000 > /dev/null 2>&1 &
	pid[$1]=$!
	pids+=("$!")
	kill -STOP "$!"
	await stands "$1"
	printf '%s\n' "state $2" "boot ${4:-$boot}" "at 1" "pid $!" "start $(field "$1" 20)" "freezer $SIGSTOP" "home " "cgroup " "peer ${3:-127.0.0.1:1}" "comm sleep" \
		"keep 0" "late 0" "identity " end > "$(record "$1")"
}
recover() { # CODE OPTION...
	local rc=0
	"$DRAY" recover --state-dir "$T/state" "${@:2}" > "$T/out" 2>&1 || rc=$?
	[ $((rc != 0)) = "$1" ] || fail "recover ${*:2}: exit code $rc"
}
SIGSTOP=2
mkdir -m 0700 "$T/state"

# nothing is said to be so, and where it was looked for
nothing() {
	for option in "" --list; do
		recover 0 $option
		grep -qxF "nothing is unsettled ($T/state)" "$T/out" || fail "recover $option does not say that there is nothing"
		recover 0 $option --json
		[ ! -s "$T/out" ] || fail "recover $option --json of nothing"
	done
}
nothing

frozen a frozen
frozen b armed
recover 0 --list
grep -q "^$(id a) frozen pid ${pid[a]} (sleep)" "$T/out" && stands a && stands b || fail "a list changes something, or lacks it"
recover 1 "$(id c)"
recover 0 "$(id a)"
await runs a
stands b || fail "another migration's process runs"
[ ! -e "$(record a)" ] && [ -e "$(record b)" ] || fail "records: $(ls "$T/state")"
recover 0
await runs b
[ ! -e "$(record b)" ] || fail "the record stays"

# in somebody's hands
frozen c frozen
/usr/bin/python3 - "$(record c).lock" "$T/held" << 'PY' &
import fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.lockf(fd, fcntl.LOCK_EX)
open(sys.argv[2], "w").close()
signal.pause()
PY
holder=$!
pids+=("$holder")
await test -e "$T/held"
recover 0
grep -q "^$(id c) under way" "$T/out" && stands c || fail "not under way"
recover 1 "$(id c)" --thaw
stands c || fail "another process's is thawed"
kill "$holder"
wait "$holder"

# kept, and from before this boot
frozen d kept
frozen e frozen 127.0.0.1:1 00000000-0000-0000-0000-000000000000
recover 0
await runs c
stands d || fail "what is kept runs"
stands e || fail "a process of this boot is taken for one of another"
[ -e "$(record d)" ] && [ ! -e "$(record e)" ] || fail "records: $(ls "$T/state")"
recover 0 "$(id d)" --thaw
await runs d
[ ! -e "$(record d)" ] || fail "the record stays"

# has ended meanwhile
frozen a frozen
kill -KILL "${pid[a]}"
await ended a
recover 0
[ ! -e "$(record a)" ] || fail "the record of who has ended stays"

# nobody answers, or what is there can't be read
frozen f committing
echo "state frozen" > "$(record 1)"
recover 1
grep -q 'not known' "$T/out" && stands f && [ -e "$(record f)" ] || fail "decided without an answer"
[ -e "$(record 1)" ] || fail "a damaged record is gone"
recover 0 "$(id f)" --kill
await ended f
[ ! -e "$(record f)" ] || fail "the record stays"
# a record that can't be read is nobody's to leave out
recover 1 --list
grep -q "$(id 1).source is damaged" "$T/out" || fail "a damaged record is not named"
rm "$(record 1)"
nothing
