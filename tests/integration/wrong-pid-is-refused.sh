#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A PID that is none, or a kernel's or our own, or a thread's, is refused by name, and for what it is: one that never was has not ended. Nothing reaches
# the destination.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_start
for p in 4194000 0 -1 12x ''; do
	mkdir -p "$T/state-a"
	rc=0; on a "$DRAY" migrate "$p" "$agent_addr" --state-dir "$T/state-a" > "$T/migrate.out" 2> "$T/migrate.err" || rc=$?
	[ "$p" = 4194000 ] && want=4 || want=2
	[ "$rc" = "$want" ] || fail "PID '$p': exit $rc, not $want"
	[ -z "$p" ] || said "$p"
	report "PID '$p' refused with $rc"
done
refused() { # CODE WORDS COMMAND...
	rc=0; on a "$DRAY" "${@:3}" > "$T/out" 2> "$T/err" || rc=$?
	[ "$rc" = "$1" ] || fail "${*:3}: exit $rc, not $1: $(cat "$T/err")"
	grep -qE "^dray [a-z-]+: $2" "$T/err" || fail "${*:3}: $(cat "$T/err")"
	! grep -qE 'ended|gone: .*\(' "$T/out" "$T/err" || fail "${*:3}: it ended, they say: $(cat "$T/out" "$T/err")"
}
there="$agent_addr --state-dir $T/state-a"
mkdir "$T/i"
# shellcheck disable=SC2086
{
	refused 4 'no process 4194000$' migrate 4194000 $there
	refused 4 'no process 4194000$' migrate 4194000 $there --dry-run
	start a threads "$PYTHON" -c 'import threading, time
threading.Thread(target=time.sleep, args=[1000], daemon=True).start()
print("ready", threading.enumerate()[1].native_id, flush=True); time.sleep(1000)'
	await 10 grep -q ready "$T/threads.out"
	thread=$(awk '/ready/ { print $2 }' "$T/threads.out")
	refused 2 "$thread is a thread of process ${inner[threads]}, " migrate "$thread" $there
	refused 2 "$thread is a thread of process ${inner[threads]}, " migrate "$thread" $there --dry-run
}
for verb in dump pre-dump; do
	refused 4 'no process 4194000$' $verb -t 4194000 -D "$T/i" --engine native
	refused 2 "$thread is a thread of process ${inner[threads]}, " $verb -t "$thread" -D "$T/i" --engine native
done
end threads
report "numbers that are no process of their own"
nothing_left a subject
nothing_left b
runs_only_on a
