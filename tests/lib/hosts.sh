# SPDX-License-Identifier: Apache-2.0
# hosts.sh - two "hosts" on one machine, for shell tests to source. Each has its own network, PID, mount and UTS namespaces and,
# where there is cgroup v2, a cgroup; a veth pair joins them. No packet leaves the machine.
#
#   hosts_up                      makes a (10.77.0.1) and b (10.77.0.2); what was made goes at every exit of the shell
#   on HOST CMD...                runs CMD there, returns its code; host_a CMD..., host_b CMD... for short
#   start HOST NAME CMD...        starts CMD there in a session of its own, stdin /dev/null, output in $T/NAME.out and $T/NAME.err;
#                                 pid[NAME] as this shell sees it, inner[NAME] as the host does
#   finish NAME                   waits for it and returns its exit code
#   agent_start HOST [OPTION...]  starts `dray agent` and awaits its readiness; its address in $agent_addr
#   agent_stop HOST / agent_kill HOST
#   await SECONDS CMD...          until CMD succeeds; fails the test when it never does. A loaded machine gets SLOWNESS (5) times the SECONDS, and
#                                 a minute at least: what succeeds waits no longer for it
#   process_there HOST INNER      prints the pid, as this shell sees it, of what HOST knows as INNER
#   nothing_left HOST [NAME...]   no process but the named, no cgroup, socket or state file of a migration. With RECORDS=1 a destination may
#                                 keep what it committed, for a source that was cut off to ask
#
# Names carry the shell's pid, so tests run side by side. $T: the test's own directory. $BUILD: where the programs are.
set -u
# A subject that inherits a descriptor of whoever runs the tests (a pipe of a terminal or a job server) can't be moved. 255 is bash's own.
for hosts_fd in "/proc/$BASHPID/fd"/*; do
	hosts_fd=${hosts_fd##*/}
	[ "$hosts_fd" -le 2 ] || [ "$hosts_fd" = 255 ] || eval "exec $hosts_fd>&-"
done
hosts_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${BUILD:-$hosts_root/build}
DRAY=$BUILD/dray
SUBJECT=$BUILD/subjects/workload
LIB=$hosts_root/tests/lib
PYTHON=/usr/bin/python3
PORT=7471
SLOWNESS=${SLOWNESS:-5}

T=
declare -A host_init host_addr host_cgroup waiter pid inner
agent_addr=
hosts_made=

skip() { echo "$*"; exit 77; }
fail() { echo "FAILED: $*" >&2; exit 1; }

await() {
	local limit=$1 end
	shift
	limit=$((limit * SLOWNESS))
	[ "$limit" -ge 60 ] || limit=60
	end=$((${EPOCHREALTIME/./} + limit * 1000000))
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || fail "never came true in $limit s: $*"
		sleep 0.02
	done
}

hosts_need() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	local p
	for p in ip nsenter unshare setpriv "$@"; do command -v "$p" > /dev/null || skip "needs $p"; done
	[ -e /proc/self/task/self/children ] || [ -e "/proc/$$/task/$$/children" ] || skip "needs /proc/PID/task/TID/children"
}

child_of() { local c=; { read -r c < "/proc/$1/task/$1/children"; } 2> /dev/null; c=${c%% *}; [ -n "$c" ] && echo "$c"; }
has_child() { child_of "$1" > /dev/null; }
gone() { [ -z "$1" ] || ! grep -qs '^State:.[^ZX]' "/proc/$1/status"; }

hosts_up() {
	hosts_need
	T=$(mktemp -d "${TMPDIR:-/tmp}/dray-test.XXXXXX") || fail "no directory"
	trap hosts_down EXIT
	# timeout signals its child and then the group: the second one must not end the cleanup.
	trap "trap '' INT TERM; exit 130" INT
	trap "trap '' INT TERM; exit 143" TERM
	hosts_made=1
	local why
	why=$({ ip netns add "dray-$$-a" && ip netns add "dray-$$-b"; } 2>&1) || skip "can't make network namespaces here: $why"
	ip link add "dv$$a" netns "dray-$$-a" type veth peer name "dv$$b" netns "dray-$$-b" || skip "can't make a veth pair here"
	host_up a 10.77.0.1
	host_up b 10.77.0.2
	# Numbers that are low in b stay free in a, so that a process can keep its own when it moves.
	on a sh -c 'echo 5000 > /proc/sys/kernel/ns_last_pid'
}

host_up() {
	local h=$1 ns=dray-$$-$1 cg
	host_addr[$h]=$2
	ip -n "$ns" addr add "$2/24" dev "dv$$$h" && ip -n "$ns" link set "dv$$$h" up && ip -n "$ns" link set lo up || fail "addresses of $h"
	cg=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
	host_cgroup[$h]=
	if [ -n "$cg" ] && mkdir "$cg/dray-test-$$-$h" 2> /dev/null; then host_cgroup[$h]=$cg/dray-test-$$-$h; fi
	# The first process of the PID namespace reaps and does nothing else. It goes with this shell even where that is killed.
	( host_join "$h"; exec setpriv --pdeathsig KILL nsenter --net="/run/netns/$ns" unshare --pid --mount --uts --fork --kill-child=KILL --mount-proc \
		bash -c 'echo "$1" > /proc/sys/kernel/hostname; while :; do sleep 3600 & wait $!; done' init "host-$h" ) \
		< /dev/null > "$T/init-$h.out" 2>&1 &
	waiter[init-$h]=$!
	disown $! # its end is no news
	await 10 has_child "${waiter[init-$h]}"
	host_init[$h]=$(child_of "${waiter[init-$h]}")
	await 10 host_ready "$h"
}

# What starts on a host inherits nothing but its standard descriptors: a pipe of whoever runs the tests could not be carried.
close_others() {
	local fd
	for fd in "/proc/$BASHPID/fd"/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
	done
}
host_join() { [ -z "${host_cgroup[$1]}" ] || echo "$BASHPID" > "${host_cgroup[$1]}/cgroup.procs"; }
host_ready() { nsenter --target "${host_init[$1]}" --pid --mount --uts -- sh -c '[ "$(cat /proc/sys/kernel/hostname)" = "$0" ]' "host-$1" 2> /dev/null; }

on() {
	local h=$1
	shift
	( host_join "$h"; exec nsenter --target "${host_init[$h]}" --net --pid --mount --uts -- "$@" )
}
host_a() { on a "$@"; }
host_b() { on b "$@"; }

start() {
	local h=$1 name=$2
	shift 2
	# The shell in between takes note of a death by signal without a word about it, and hands on 128 + signal.
	( host_join "$h"
	close_others
	nsenter --target "${host_init[$h]}" --net --pid --mount --uts -- setsid env --default-signal=INT,QUIT "$@" \
		< /dev/null > "$T/$name.out" 2> "$T/$name.err"
	exit $? ) 2> /dev/null &
	waiter[$name]=$!
	await 10 started "$name"
	# A program that has ended already has neither; finish tells its exit code.
	pid[$name]=$(grandchild_of "${waiter[$name]}") || true
	inner[$name]=$(awk '/^NSpid:/ { print $NF }' "/proc/${pid[$name]:-0}/status" 2> /dev/null) || true
}
grandchild_of() { local c; c=$(child_of "$1") && child_of "$c"; }
started() { grandchild_of "${waiter[$1]}" > /dev/null || ! kill -0 "${waiter[$1]}" 2> /dev/null; }

# nsenter stops itself when its child is stopped, and has to be told to go on.
finish() {
	local rc=0 n
	! n=$(child_of "${waiter[$1]}") || ( while kill -CONT "$n"; do sleep 0.1; done & ) 2> /dev/null
	wait "${waiter[$1]}" 2> /dev/null || rc=$?
	unset "waiter[$1]"
	return $rc
}
# Ends what start() started, whatever it does; a helper that is to go before the test ends.
end() {
	local p
	# By its waiter, and not by a number that may be somebody else's by now.
	[ -z "${waiter[$1]:-}" ] || ! p=$(grandchild_of "${waiter[$1]}") || kill -KILL "$p" 2> /dev/null || true
	[ -z "${waiter[$1]:-}" ] || finish "$1" || true
}

agent_start() {
	local h=$1
	shift
	mkdir -p "$T/state-$h"
	local insecure=--insecure
	case " $* " in *" --tls"*) insecure= ;; esac
	start "$h" "agent-$h" "$DRAY" agent --listen "${host_addr[$h]}:$PORT" $insecure --state-dir "$T/state-$h" "$@"
	await 10 agent_ready "$h"
	agent_addr=$(sed -n 's/^listening on //p' "$T/agent-$h.out" | head -n 1)
	[ -n "$agent_addr" ] || fail "the agent on $h ended: $(tail -n 3 "$T/agent-$h.err")"
}
agent_ready() { grep -q '^listening on ' "$T/agent-$1.out" || gone "${pid[agent-$1]:-0}"; }
agent_alive() { [ -n "${pid[agent-$1]:-}" ] && ! gone "${pid[agent-$1]}"; }
agent_kill() { end "agent-$1"; unset "pid[agent-$1]"; }
agent_stop() { # SIGTERM: it drains and ends with 0
	local rc=0
	kill -TERM "${pid[agent-$1]}"
	finish "agent-$1" || rc=$?
	unset "pid[agent-$1]"
	return $rc
}

# Processes of a host: those whose network namespace is its own. Prints "pid innermost-pid state" a line, its init and that one's sleep left out.
processes_of() {
	local h=$1 pid inner state ppid name
	cat /proc/[0-9]*/status 2> /dev/null | awk '
		/^Name:/ { name = $2 } /^State:/ { state = $2 } /^Pid:/ { pid = $2 } /^PPid:/ { ppid = $2 }
		/^NSpid:/ && NF > 2 { print pid, $NF, state, ppid, name }' |
	while read -r pid inner state ppid name; do
		[ "/proc/$pid/ns/net" -ef "/proc/${host_init[$h]}/ns/net" ] || continue
		[ "$pid" != "${host_init[$h]}" ] || continue
		[ "$ppid:$name" != "${host_init[$h]}:sleep" ] || continue
		echo "$pid $inner $state"
	done
}
process_there() { processes_of "$1" | awk -v want="$2" '$2 == want && $3 != "Z" && !found++ { print $1 } END { exit !found }'; }

# A process that moved into a PID namespace of its own has that one's first process with it.
is_init_of_kept() {
	local p=$1 k
	shift
	[ "$(awk '/^NSpid:/ { print $NF }' "/proc/$p/status" 2> /dev/null)" = 1 ] || return 1
	for k; do [ ! "/proc/$p/ns/pid" -ef "/proc/$k/ns/pid" ] || return 0; done
	return 1
}

# What an agent starts once and for all, beside the sessions.
is_agents_own() {
	local name ppid
	agent_alive "$1" || return 1
	name=$(awk '/^Name:/ { print $2 }' "/proc/$2/status" 2> /dev/null)
	ppid=$(awk '/^PPid:/ { print $2 }' "/proc/$2/status" 2> /dev/null)
	case $name in
	dray-tls | dray-metrics) [ "$ppid" = "${pid[agent-$1]}" ] ;;
	dray-exporter) [ "$(cat "/proc/$ppid/comm" 2> /dev/null)" = dray-metrics ] ;;
	*) false ;;
	esac
}

# Why something of a migration is still there; nothing: true. Waits for processes on their way out.
left_on() {
	local h=$1 keep=" " n d
	shift
	for n; do keep="$keep${pid[$n]:-} "; done
	agent_alive "$h" && keep="$keep${pid[agent-$h]} "
	processes_of "$h" | while read -r p _ state; do
		! is_agents_own "$h" "$p" || continue
		case "$keep" in *" $p "*) ;; *) is_init_of_kept "$p" $keep || echo "process $p ($state): $(tr '\0' ' ' < "/proc/$p/cmdline" 2> /dev/null)" ;; esac
	done
	[ -z "${host_cgroup[$h]}" ] || find "${host_cgroup[$h]}" -mindepth 1 -type d -name 'dray-*' 2> /dev/null | sed 's/^/cgroup /'
	on "$h" ss -Htn state established "( sport = :$PORT or dport = :$PORT )" 2> /dev/null | sed 's/^/socket /'
	for d in "$T/state-$h"; do
		[ ! -d "$d" ] || find "$d" -mindepth 1 \( -type f -o -type s \) ! -name identity | while read -r n; do
			[ -n "${RECORDS:-}" ] && grep -qsE '^state committed$' "${n%.lock}" || echo "state file $n"
		done
	done
}
nothing_left_now() { [ -z "$(left_on "$@")" ]; }
nothing_left() {
	local end=$((${EPOCHREALTIME/./} + 12000000 * SLOWNESS))
	until nothing_left_now "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || { left_on "$@" >&2; fail "left behind on $1"; }
		sleep 0.05
	done
}

hosts_down() {
	local rc=$? h f n
	trap - EXIT
	trap '' INT TERM
	set +eu
	if [ $rc -ne 0 ] && [ $rc -ne 77 ]; then
		for f in "$T"/*.err "$T"/*.out; do
			[ -s "$f" ] && { echo "--- ${f##*/}"; tail -n "${HOSTS_LOG_LINES:-15}" "$f"; } >&2
		done
	fi
	for h in a b; do
		[ -n "${host_cgroup[$h]}" ] && echo 1 > "${host_cgroup[$h]}/cgroup.kill"
		[ -n "${host_init[$h]}" ] && kill -KILL "${host_init[$h]}" 2> /dev/null
	done
	for h in "${!waiter[@]}"; do # nsenters that stopped themselves hear nothing of their child's end
		! n=$(child_of "${waiter[$h]}") || kill -KILL "$n" 2> /dev/null
	done
	wait 2> /dev/null
	for h in a b; do
		[ -z "${waiter[init-$h]:-}" ] || await 10 gone "${waiter[init-$h]}"
		ip netns del "dray-$$-$h" 2> /dev/null
		[ -n "${host_cgroup[$h]}" ] && hosts_drop_cgroup "${host_cgroup[$h]}"
	done
	[ -n "$T" ] && [ -z "${HOSTS_KEEP:-}" ] && rm -rf "$T"
	exit $rc
}
hosts_drop_cgroup() {
	local i
	for i in $(seq 100); do
		find "$1" -depth -type d -exec rmdir {} + 2> /dev/null
		[ -d "$1" ] || return 0
		sleep 0.02
	done
	echo "cgroup $1 stays" >&2
}
