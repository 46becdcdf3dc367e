#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Action scripts run at each stage, in their order, with criu's environment, in the work directory; one that fails stops what can still be
# stopped, and the tree runs on.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
mkdir "$T/i" "$T/w"
cat > "$T/script" <<'EOF'
#!/bin/sh
echo "$CRTOOLS_SCRIPT_ACTION ${CRTOOLS_INIT_PID:-none} $(readlink "$CRTOOLS_IMAGE_DIR") $(pwd -P) $#" >> "$0.log"
[ "$CRTOOLS_SCRIPT_ACTION" != "$(cat "$0.fails" 2> /dev/null)" ]
EOF
sed 's/"\$0.log"/"$0.log"; echo second/' "$T/script" > "$T/second"
chmod 755 "$T/script" "$T/second"
with="-W $T/w --action-script $T/script --action-script $T/second -o log -v4"
stages() { awk -v i="$T/i" -v w="$T/w" '{ print $1, $2, ($3 == i), ($4 == w), $5 }' "$T/script.log"; rm "$T/script.log"; }
expect() { [ "$(stages)" = "$(printf '%s 1 1 0\n' "$@")" ] || fail "$1: not the stages that were expected"; }

sleeper
echo post-dump > "$T/script.fails"
# shellcheck disable=SC2086
fails 1 "action script $T/script ended with 1" criu dump -t "$subject" -D "$T/i" $with
expect "pre-dump $subject" "post-dump $subject"
kill -0 "$subject" || fail "a script that failed did not save the tree"
grep -q '^second' "$T/w/log" || fail "what a script prints is not in the log"
rm "$T/script.fails"
# shellcheck disable=SC2086
criu dump -t "$subject" -D "$T/i" $with || fail "dump: $(cat "$T/w/log")"
expect "pre-dump $subject" "post-dump $subject"
ended

echo post-restore > "$T/script.fails"
# shellcheck disable=SC2086
fails 1 "post-restore: action script" criu restore -d -D "$T/i" $with
expect "pre-restore none" "post-restore $subject"
ended
echo post-resume > "$T/script.fails" # too late to stop anything
# shellcheck disable=SC2086
criu restore -d -D "$T/i" $with || fail "restore: $(cat "$T/w/log")"
[ "$(cut -d ' ' -f 1 "$T/script.log" | tr '\n' ' ')" = "pre-restore post-restore pre-resume post-resume " ] || fail "stages: $(cat "$T/script.log")"
kill -0 "$subject" || fail "not restored"
fails 1 'could not be run' criu dump -t "$subject" -D "$T/i" --action-script "$T/nowhere"
kill -0 "$subject" || fail "a script that is not there did not save the tree"
echo "ok: scripts at each stage"
