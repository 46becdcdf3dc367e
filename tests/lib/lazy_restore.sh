# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
# lazy_restore.sh - restores that run before their pages are there. Sourced behind images.sh and criu.sh, in a network namespace of the test's own. The
# original may stand still while its copy runs, so the copy is in namespaces of its own too.
#
#   restore DIR [OPTION...]   begins one: $restorer; copy.out, copy.err
#   copy_runs                 waits until the copy is there: $copy
#   copy_right                what the copy says: all its pages are right
#   copy_ends                 ends it, and with it the namespaces
#   daemon_ready DIR          waits until the lazy-pages daemon of DIR takes a restore
#   ended_well PID NAME       that program ends with 0; else NAME.err is shown
#   gone PID
restore() {
	local dir=$1
	shift
	rm -f "$T/report" "$T/copy.err"
	# shellcheck disable=SC2016
	setsid unshare --pid --net --mount --fork --mount-proc --kill-child=KILL sh -c 'ip link set lo up && exec "$@"' sh \
		"$BUILD/dray" restore -D "$dir" --lazy-pages "$@" < /dev/null > "$T/copy.out" 2> "$T/copy.err" &
	restorer=$!
	subjects+=("$restorer")
}
child_of() { local c; c=$(cat "/proc/$1/task/$1/children" 2> /dev/null) || return 1; set -- $c; echo "${1:-}"; }
copy_is_there() { local p; p=$(child_of "$restorer") && [ -n "$p" ] && [ "$(cat "/proc/$p/comm" 2> /dev/null)" = dray ] && copy=$(child_of "$p") && [ -n "$copy" ]; }
copy_runs() { await 60 copy_is_there; }
copy_right() {
	kill -USR1 "$copy" || fail "the copy is gone: $(cat "$T/copy.err")"
	await 120 test -s "$T/report"
	grep -q '"verdict":"right"' "$T/report" || fail "its memory is wrong: $(cat "$T/report")"
}
copy_ends() {
	kill -KILL "$copy"
	await 20 gone "$restorer"
	wait "$restorer" || true
}
daemon_ready() { await 20 test -S "$1/lazy-pages.socket"; }
ended_well() { wait "$1" || fail "$2 ended with $?: $(tail -n 5 "$T/$2.err")"; }
gone() { ! kill -0 "$1" 2> /dev/null; }
