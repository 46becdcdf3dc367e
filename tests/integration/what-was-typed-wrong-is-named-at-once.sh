#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whatever is wrong with a command line is said at once, with the option or the object and what would do, and with the exit code that the man page has for it: by daemons too,
# before they say that they are ready, and not when the first client comes.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
. tests/lib/images.sh
. tests/lib/criu.sh
D=$BUILD/dray
mkdir "$T/i" "$T/empty" "$T/state"
touch "$T/file" "$T/pid"
quiet() { [ ! -s "$T/out" ] || fail "it said that it is ready: $(cat "$T/out")"; }
# daemons: nobody hears that they listen
none() { fails "$1" "$2" timeout 60 "${@:3}"; quiet; }
none 2 "--rpc-mode: \"999\"" "$D" agent --listen 127.0.0.1:0 --state-dir "$T/state" --rpc-mode 999
none 2 '--rpc-group has no effect without --rpc' "$D" agent --listen 127.0.0.1:0 --state-dir "$T/state" --rpc-group root
none 1 "state directory $T/file" "$D" agent --listen 127.0.0.1:0 --state-dir "$T/file"
none 1 "state directory $T/no/where" "$D" agent --listen 127.0.0.1:0 --state-dir "$T/no/where"
none 2 'resolve nowhere.invalid' "$D" agent --listen nowhere.invalid:1 --state-dir "$T/state"
none 2 '--tls-allow has no effect without TLS' "$D" agent --listen 127.0.0.1:0 --state-dir "$T/state" --tls-allow host
none 1 '(--tls-cert)' "$D" agent --listen 127.0.0.1:0 --state-dir "$T/state" --tls-cert "$T/gone"
none 2 '--status-fd 77' "$D" page-server -D "$T/i" --status-fd 77
none 2 'exclude each other' "$D" page-server -D "$T/i" --chain --prev-images-dir x
none 10 "pid file $T/pid is there already" "$D" page-server -D "$T/i" --pidfile "$T/pid"
none 1 "$T/gone" "$D" page-server -D "$T/gone"
none 2 '--status-fd 77' "$D" service --address "$T/s" --status-fd 77
none 2 "--criu $T/gone" "$D" service --address "$T/s" --criu "$T/gone"
none 2 "--criu $T/file" "$D" service --address "$T/s" --criu "$T/file" --engine criu
none 2 "engine 'foo' is none of auto, native, criu" "$D" service --address "$T/s" --engine foo
none 2 'descriptor 77' "$D" swrk 77
none 1 "--port: 99999 is none" "$T/bin/criu" page-server -D "$T/i" --port 99999
none 1 "--status-fd 77" "$T/bin/criu" page-server -D "$T/i" --status-fd 77
[ ! -e "$T/s" ] || fail "a socket was left"
# what is asked for once
fails 1 "--state-dir $T/gone" "$D" recover --state-dir "$T/gone" --list
fails 2 '--kill wants the ID' "$D" recover --state-dir "$T/state" --kill
fails 2 "'zz' is not 32 hex digits" "$D" recover zz
fails 4 'no record of migration' "$D" recover --state-dir "$T/state" 00000000000000000000000000000000
fails 2 '127.0.0.1 is neither the path' "$D" status 127.0.0.1
fails 6 'connect to 127.0.0.1:1' "$D" status 127.0.0.1:1
fails 6 "$T/gone" "$D" status "$T/gone"
fails 2 '--verify compares memory' "$D" migrate 1 127.0.0.1 --verify --postcopy
fails 2 'HOST[:PORT] is missing' "$D" migrate 1
fails 4 'no process 4194303' "$D" migrate 4194303 127.0.0.1:1 --state-dir "$T/state"
fails 1 "$T/empty: no whole set of images is there" "$D" restore -D "$T/empty"
fails 2 "--criu $T/gone" "$D" dump -t 4194303 -D "$T/i" --criu "$T/gone"
fails 2 '--page-server wants --address and --port' "$D" lazy-pages -D "$T/i" --page-server
for typed in "--port 9" "--address ::1" "--ps-socket 0" --tls "--tls-cert $T/gone" "--streams 2"; do
	fails 2 "dump: ${typed%% *} has no effect without --page-server" "$D" dump -t 4194303 -D "$T/i" $typed
	fails 2 "pre-dump: ${typed%% *} has no effect without --page-server" "$D" pre-dump -t 4194303 -D "$T/i" $typed
done
# criu goes on: under its name that is a warning, and a file that is read by all verbs is none
fails 1 " warn " "$T/bin/criu" dump -t 4194303 -D "$T/i" --port 9
grep -q "option-without-effect option=--port reason=.* --page-server" "$T/err" || fail "no warning: $(cat "$T/err")"
echo "port 9" > "$T/conf"
fails 1 "process 4194303" "$T/bin/criu" dump -t 4194303 -D "$T/i" --config "$T/conf"
! grep -q option-without-effect "$T/err" || fail "a file is warned of"
[ -z "$(ls -A "$T/i")" ] || fail "something was written: $(ls -A "$T/i")"
# a path needs no slash
(cd "$T" && fails 6 'i/metrics.sock' "$D" status i)
echo "ok: named at once"
