#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A dump that is given a control group stops the process by its freezer, of version 1 or 2, and leaves the group as it found it: thawed, or frozen.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
[ "$(id -u)" = 0 ] || { echo "not root"; exit 77; }
groups=()
leave() {
	for p in "${subjects[@]}"; do kill -KILL "$p" 2> /dev/null || true; done
	for g in "${groups[@]}"; do
		thaw "$g" 2> /dev/null || true
		for _ in $(seq 100); do rmdir "$g" 2> /dev/null && break || sleep 0.05; done
	done
	rm -rf "$T"
}
trap leave EXIT
freeze() { if [ -e "$1/cgroup.freeze" ]; then echo 1 > "$1/cgroup.freeze"; else echo FROZEN > "$1/freezer.state"; fi; }
thaw() { if [ -e "$1/cgroup.freeze" ]; then echo 0 > "$1/cgroup.freeze"; else echo THAWED > "$1/freezer.state"; fi; }
frozen() { grep -qs 'frozen 1' "$1/cgroup.events" || grep -qsx FROZEN "$1/freezer.state"; }

tried=0
while read -r _ place type options _; do
	case $type:$options in
	cgroup2:*) ;;
	cgroup:*freezer*) ;;
	*) continue ;;
	esac
	group=$place/dray-test-$$
	mkdir "$group" 2> /dev/null || continue
	groups+=("$group")
	[ -e "$group/cgroup.freeze" ] || [ -e "$group/freezer.state" ] || continue
	workload
	echo "$subject" > "$group/cgroup.procs" || continue
	imager "dump,$T/$tried-thawed,run,cgroup=$group"
	! frozen "$group" || fail "$type: left frozen"
	workload_right
	freeze "$group"
	await 10 frozen "$group"
	imager "dump,$T/$tried-frozen,run,cgroup=$group"
	await 10 frozen "$group"
	thaw "$group"
	workload_right
	freeze "$group"
	await 10 frozen "$group"
	imager "dump,$T/$tried-killed,cgroup=$group"
	ended
	thaw "$group"
	tried=$((tried + 1))
	echo "ok: $type at $place"
done <<< "$(cat /proc/self/mounts)" # at once: others mount meanwhile
[ $tried -gt 0 ] || { echo "no freezer that can be used"; exit 77; }
workload
! imager "dump,$T/none,run,cgroup=$T" || fail "a directory that is no control group was taken for one"
workload_right
