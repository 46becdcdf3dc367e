#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A dump of a process that holds one of everything has every file that a restore looks for, and CRIU's own tool can read each of them.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
[ "$(id -u)" = 0 ] || { echo "not root"; exit 77; }
command -v crit > /dev/null || { echo "crit is not installed"; exit 77; }

zoo file dup directory devices pipe lone-pipe fifo eventfd timerfd signalfd epoll inotify memfd owner memory mapped-files advice stream-pair packet-pairs \
	half-pair unix-names tcp udp signals timers attributes threads robust
imager pre-dump,"$T/0"
imager dump,"$T/1",parent=../0,track,run
zoo_right
for name in inventory pstree "core-$subject" "ids-$subject" "mm-$subject" "fs-$subject" files "pagemap-$subject" memfd pipes-data fifo-data sk-queues; do
	[ -s "$T/1/$name.img" ] || fail "$name.img is missing"
done
decoded=0
for f in "$T"/[01]/*.img "$T"/[01]/stats-dump; do
	case ${f##*/} in
	pages-* | drayage.img) continue ;; # no entries, and not CRIU's
	esac
	crit decode -i "$f" > "$T/json" 2> "$T/err" || fail "${f##*/}: $(tail -n 1 "$T/err")"
	decoded=$((decoded + 1))
done
for t in /proc/"$subject"/task/*; do [ -s "$T/1/core-${t##*/}.img" ] || fail "no image of thread ${t##*/}"; done
shmem=$(crit decode -i "$T/1/memfd.img" | grep -o '"shmid": [0-9]*' | sed 's/.* //')
for id in $shmem; do [ -s "$T/1/pagemap-shmem-$id.img" ] || fail "no page map of shared memory $id"; done
echo "ok: $decoded files"
