#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# criu's configuration files: the user's own, then the one that CRIU_CONFIG_FILE names, then the one of --config (which takes the place of
# the user's), then the command line. A wrong line is named with its file and keeps everything from being done; swrk reads them too.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh

# Which of the files was heard is told by the images directory that can't be opened.
heard() {
	local want=$1
	shift
	fails 1 "--images-dir: open $want" env "$@"
}
mkdir "$HOME/.criu"
echo 'images-dir "/from \"user\"" # a comment' > "$HOME/.criu/default.conf"
echo 'images-dir /from-environment' > "$T/environment.conf"
echo 'images-dir=/from-argument' > "$T/argument.conf"
echo 'log-file "x"' > "$T/empty.conf"
C=$T/bin/criu
E=CRIU_CONFIG_FILE=$T/environment.conf
heard '/from "user"' "$C" dump -t 1
heard /from-environment "$E" "$C" dump -t 1
heard /from-argument "$E" "$C" dump -t 1 --config "$T/argument.conf"
heard /from-line "$E" "$C" dump -t 1 --config "$T/argument.conf" -D /from-line
heard /from-environment "$E" "$C" dump -t 1 --config "$T/empty.conf"
heard /from-environment "$E" "$C" dump -t 1 --no-default-config
heard '/from "user"' CRIU_CONFIG_FILE="$T/nowhere.conf" "$C" dump -t 1
(cd "$T" && fails 1 'process' "$C" dump -t 4194303 --config "$T/nowhere.conf") # neither file, so the images go here

printf 'leave-running\nnonsense yes\n' > "$T/wrong.conf"
fails 1 "$T/wrong.conf: line 2: nonsense: no such option" criu dump --config "$T/wrong.conf"
printf 'tree 1 2\n' > "$T/wrong.conf"
fails 1 "$T/wrong.conf: line 1: '2' is one word too many" criu dump --config "$T/wrong.conf"
printf 'tree x\n' > "$T/wrong.conf"
fails 1 "$T/wrong.conf: line 1: tree" criu dump --config "$T/wrong.conf"
fails 1 "$T/wrong.conf: line 1: tree" env CRIU_CONFIG_FILE="$T/wrong.conf" "$C" swrk 0
fails 1 "$T/wrong.conf: line 1: tree" env CRIU_CONFIG_FILE="$T/wrong.conf" "$C" check
fails 1 'descriptor 0' env CRIU_CONFIG_FILE="$T/environment.conf" "$C" swrk 0
echo "ok: configuration files in their order"
