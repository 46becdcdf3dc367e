#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# At SIGHUP a page server goes on as the program that is installed by then: sessions under way arrive and are told so, connections of theirs that are cut come again, rounds chain on,
# numbers and counters go on, and draining waits for those that began before. A program that could not serve takes nobody's place.
. "$(dirname "$0")/../lib/page_server.sh"
export ORIGINAL=$DRAY
for dir in "$T/none" "$T/none/%p/%n"; do # what --check looks at
	rc=0; "$DRAY" page-server -D "$dir" --check > "$T/out" 2>&1 || rc=$?
	[ "$rc" = 1 ] && grep -q "directory $T/none:" "$T/out" || fail "$dir: $rc, $(cat "$T/out")"
done
for dir in "$IMAGES" "$IMAGES/%p/%n"; do
	out=$("$DRAY" page-server -D "$dir" --check 2>&1) && [ -z "$out" ] && nothing_published || fail "$dir: $out"
done
cp "$DRAY" "$T/dray"
DRAY=$T/dray
server_start --chain --drain-timeout 0 --pidfile "$T/pid" --metrics "unix:$T/m"
export DRAY
cat > "$T/replace.py" << 'PY'
import os, shutil, signal, time
from prometheus import metrics
T, SERVER = os.environ["T"], int(os.environ["SERVER"])


def until(condition, *words):
    end = time.monotonic() + 60 * int(os.environ.get("SLOWNESS", "5"))
    while not condition():
        assert time.monotonic() < end, words
        time.sleep(0.02)


def log():
    return open(T + "/log").read()


def hang_up(event):
    before = log().count(" %s " % event)
    os.kill(SERVER, signal.SIGHUP)
    until(lambda: log().count(" %s " % event) > before, event)


def install(program):
    shutil.copy(program, T + "/new")
    os.rename(T + "/new", os.environ["DRAY"])


def image():
    return os.stat("/proc/%d/exe" % SERVER).st_ino
PY
sender << 'PY'
import sys
sys.path.insert(0, os.environ["T"])
from replace import *
images = os.environ["IMAGES"]
first = Sender(os.environ["PORT"])
assert first.open(1) == 0
first.pages(0x1000, page(1) + page(2))
assert first.close() == 0
stock = Sender(os.environ["PORT"])
assert stock.open(2) == 0
stock.pages(0x1000, page(3))
native = Native(os.environ["PORT"], numbered=True)
native.open(4)
native.pages(0x1000, page(4))
until(lambda: metrics("unix:" + T + "/m")["dray_page_server_sessions_accepted_total"] == 3)

# what can't serve
open(T + "/bad", "w").write("#!/bin/sh\nexit 2\n")
os.chmod(T + "/bad", 0o755)
install(T + "/bad")
hang_up("reload-failed")
os.unlink(os.environ["DRAY"])
hang_up("reload-failed")

install(os.environ["ORIGINAL"])
old = image()
hang_up("reloaded")
assert image() != old
assert " reloaded sessions=2 lost=0\n" in log(), log()
until(lambda: os.path.exists(T + "/m"))
m = metrics("unix:" + T + "/m")
assert m["dray_page_server_sessions_accepted_total"] == 3 and m["dray_page_server_sessions_running"] == 2, m

stock.pages(0x2000, page(5))
assert stock.close() == 0
assert published(images + "/2", 2) == ([(0x1000, 2, 4)], page(3) + page(5))
until(lambda: metrics("unix:" + T + "/m")['dray_page_server_sessions_ended_total{outcome="success"}'] == 2)
native.s.close()
again = Sender(os.environ["PORT"])
status, _, _ = again.hello(7, 0, native.token, FEATURES | NUMBERED)
assert status == 0, log()
_, _, native.number = struct.unpack("<4sIQ", again.take(16))
native.s = again.s
assert native.number in (1, 2), native.number
if native.number == 1:
    native.pages(0x1000, page(4))
native.pages(0x2000, page(6))
assert native.close() == 0
assert published(images + "/3", 4)[1] == page(4) + page(6)
until(lambda: metrics("unix:" + T + "/m")["dray_page_server_sessions_running"] == 0)
round = Sender(os.environ["PORT"])
assert round.open(4) == 1
round.hole(0x1000, 1)
hang_up("reloaded") # and once more, with what was taken over
os.kill(SERVER, signal.SIGTERM)
until(lambda: " draining sessions=1\n" in log())
round.pages(0x2000, page(7))
assert round.close() == 0
assert os.readlink(images + "/4/parent") == "../3"
PY
rc=0; wait "$server" || rc=$?
server=
[ "$rc" = 0 ] || fail "the server ended with $rc"
[ ! -e "$T/pid" ] || fail "the pid file is still there"
[ ! -e "$T/m" ] || fail "the metrics' socket is still there"
