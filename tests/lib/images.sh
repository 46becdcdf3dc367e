# SPDX-License-Identifier: Apache-2.0
# images.sh - subjects that are dumped into directories and restored from them. Sourced; everything is below $T, which goes in the end.
#
#   workload [OPTION...]      a program that writes all the time and knows its own data: sets $subject, its PID
#   workload_right            what has that PID says that all its pages are right
#   sleeper                   a program that sleeps: sets $subject
#   zoo KIND...               one specimen of each: sets $subject; zoo_right asks it
#   imager STEP...            rounds of one caller on $subject (tests/programs/imager.c); its lines in $T/imager.out
#   told FIELD [VERB]         a number of the last line (of that verb)
#   ended                     waits until $subject is gone
# $BUILD is where things were built. fail MESSAGE ends the test; await SECONDS COMMAND... waits for a condition.
T=$(mktemp -d "${TMPDIR:-/tmp}/images-XXXXXX")
chmod 755 "$T"
export DRAY_TRACKERS_DIR=$T/trackers
subjects=()
finish_images() {
	for p in "${subjects[@]}"; do kill -KILL "$p" 2> /dev/null || true; done
	rm -rf "$T"
}
trap finish_images EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

fail() { echo "FAILED: $*"; exit 1; }
await() {
	local limit=$(($1 * 20 * ${SLOWNESS:-5})) n=0 # a loaded machine is slow
	shift
	until "$@"; do
		n=$((n + 1))
		[ $n -lt $limit ] || fail "never came true: $*"
		sleep 0.05
	done
}
# A subject holds no descriptor of the test's, and no terminal.
launch() {
	# shellcheck disable=SC2016
	setsid bash -c 'for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -lt 3 ] || eval "exec $fd>&-"; done; exec "$@"' launch "$@" \
		< /dev/null > "$T/subject.out" 2>&1 &
	subject=$!
	disown "$subject"
	subjects+=("$subject")
}
# It is the program, and no shell on the way to that.
sleeper() {
	launch sleep 1000
	await 20 is_asleep
}
is_asleep() { [ "$(cut -d ' ' -f 2,3 "/proc/$subject/stat")" = "(sleep) S" ]; }
workload() {
	rm -f "$T/ready"
	launch "$BUILD/subjects/workload" --size 16M --rate 1 --pattern hot --thp off --data heap --threads 2 --verify \
		--ready "$T/ready" --report "$T/report" "$@"
	await 60 test -e "$T/ready"
}
workload_right() {
	rm -f "$T/report"
	kill -USR1 "$subject" || fail "there is no process $subject"
	await 60 test -s "$T/report"
	grep -q '"verdict":"right"' "$T/report" || fail "its memory is wrong: $(cat "$T/report")"
}
zoo() {
	rm -rf "$T/zoo"
	mkdir -m 777 "$T/zoo"
	launch "$BUILD/subjects/zoo" "$T/zoo" "$@"
	await 30 test -e "$T/zoo/ready"
}
. "$(dirname "${BASH_SOURCE[0]}")/zoo.sh"
imager() {
	"$BUILD/tests/programs/imager" "$subject" "$@" >> "$T/imager.out" 2> "$T/imager.err" || { cat "$T/imager.err"; return 1; }
}
told() { grep "^${2:-}" "$T/imager.out" | tail -n 1 | sed "s/.* $1=\([0-9]*\).*/\1/"; }
ended() { await 20 test ! -e "/proc/$subject"; }
