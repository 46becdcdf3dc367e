# SPDX-License-Identifier: Apache-2.0
# criu.sh - the program under the name criu, with nobody's configuration. Sourced behind what makes $T.
#
#   criu ARGUMENT...           our program by that name
#   fails CODE WORDS COMMAND...   the command ends with CODE, and says WORDS on standard error
mkdir -p "$T/bin" "$T/home"
ln -s "$BUILD/dray" "$T/bin/criu"
export HOME=$T/home
unset CRIU_CONFIG_FILE
export DRAY_ENGINE=native # whatever is installed here
[ ! -e /etc/criu/default.conf ] || { echo "this host has a configuration of criu's own"; exit 77; }
criu() { "$T/bin/criu" "$@"; }
fails() {
	local code=$1 words=$2 rc=0
	shift 2
	"$@" > "$T/out" 2> "$T/err" < /dev/null || rc=$?
	[ "$rc" = "$code" ] || fail "$*: exit $rc, not $code: $(cat "$T/err")"
	grep -qF -- "$words" "$T/err" || fail "$* does not say \"$words\": $(cat "$T/err")"
}
