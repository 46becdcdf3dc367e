# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2317
# vm.sh - sourced first by the tests in tests/vm: from here on they are in the project's directory, BUILD is set, and any failure ends them.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
export BUILD

skip() { echo "$*"; exit 77; }
needs() { # PROGRAM...
	local p
	for p; do command -v "$p" > /dev/null || skip "needs $p"; done
}
not_sanitized() { [ -z "${SAN:-}" ] || skip "under a sanitizer it takes too long in an emulated machine"; }
in_vm() { # SECONDS [ARGUMENT...]: what follows runs in the virtual machine, within so long; its files go to $t
	[ -n "${IN_VM:-}" ] || exec tests/vm/run-in-vm --timeout "$1" --env IN_VM=1 --env "BUILD=$BUILD" -- "$PWD/$0" "${@:2}"
	t=$(mktemp -d)
}
certificates() { # made in $t/certs; from here on there is creds (tests/lib/tls.sh)
	T=$t LIB=tests/lib
	. tests/lib/tls.sh
	certs_make
}
gone() { ! kill -0 "$1" 2> /dev/null; } # PID
await() { # COMMAND...: its success. The test has a fail() of its own, which shows its logs
	local n=0
	until "$@"; do n=$((n + 1)); [ $n -lt 1500 ] || fail "never came true: $*"; sleep 0.1; done
}
