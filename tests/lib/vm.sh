# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2317
# vm.sh - sourced first by the tests in tests/vm: from here on they are in the project's directory, BUILD is set, and any failure ends them.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
export BUILD

needs() { # PROGRAM...
	local p
	for p; do command -v "$p" > /dev/null || { echo "needs $p"; exit 77; }; done
}
in_vm() { # SECONDS [ARGUMENT...]: what follows runs in the virtual machine, within so long
	[ -n "${IN_VM:-}" ] || exec tests/vm/run-in-vm --timeout "$1" --env IN_VM=1 --env "BUILD=$BUILD" -- "$PWD/$0" "${@:2}"
}
await() { # COMMAND...: its success. The test has a fail() of its own, which shows its logs
	local n=0
	until "$@"; do n=$((n + 1)); [ $n -lt 1500 ] || fail "never came true: $*"; sleep 0.1; done
}
