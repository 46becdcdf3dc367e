#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `dray status` shows a session while it runs, with its peer, pages, bytes, directory and deadline, and not when it has ended; --watch shows the change,
# --json says the same to programs; so are clients of --lazy-pages; where nobody answers the exit code tells.
. "$(dirname "$0")/../lib/page_server.sh"
mkdir "$T/run"
server_start --metrics "unix:$T/run/metrics.sock" --session-time 10m
"$DRAY" status "$T/run" --watch --interval 50ms --json > "$T/watched" 2> "$T/watch.err" &
watcher=$!
export DRAY
sender << 'PY'
import json
import subprocess
import time
T = os.environ["T"]


def status(*options):
    return subprocess.run([os.environ["DRAY"], "status", T + "/run", *options], capture_output=True, text=True, check=True).stdout


def looks():
    return [json.loads(line) for line in open(T + "/watched").read().split("\n")[:-1]]


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, status("--json")
        time.sleep(0.02)


until(lambda: looks() and looks()[-1]["sessions"] == [])
s = Sender(os.environ["PORT"])
s.open(3)
s.pages(0x1000, page(1) + page(2))
until(lambda: json.loads(status("--json"))["sessions"] and json.loads(status("--json"))["sessions"][0]["pages"] == 2)
now = json.loads(status("--json"))
assert now["daemon"] == "page-server" and now["pid"] == int(os.environ["SERVER"]) and now["running"] == 1, now
one, = now["sessions"]
assert one["peer"] == "127.0.0.1" and one["state"] == "receiving" and one["directory"] == os.environ["IMAGES"] + "/1", one
assert one["bytes"] == 2 * 32 + 2 * PAGE and 0 < one["left_ms"] <= 600000 and one["age_ms"] > 0 and one["session"] == 1, one
text = status()
assert "receiving" in text and "8.06 KiB" in text and "1 running" in text and os.environ["IMAGES"] + "/1" in text, text
until(lambda: looks()[-1]["sessions"])
assert s.close() == 0
until(lambda: looks()[-1]["sessions"] == [] and looks()[-1]["succeeded"] == 1)
PY
kill -INT "$watcher"
rc=0; wait "$watcher" || rc=$?
[ "$rc" = 0 ] || fail "--watch ended with $rc: $(cat "$T/watch.err")"
server_stop

IMAGES=$IMAGES/1
for how in "" --once; do
	server_start --lazy-pages $how --metrics "unix:$T/run/metrics.sock"
	sender << 'PY'
import json
import subprocess
import time
s, end = Sender(os.environ["PORT"]), time.monotonic() + 60
s.say(GET, nr=2, vaddr=0x1000, dst=3)
assert s.take(32 + 2 * PAGE)[32:] == page(1) + page(2)
while True:
    one, = json.loads(subprocess.run([os.environ["DRAY"], "status", os.environ["T"] + "/run", "--json"], capture_output=True, check=True).stdout)["sessions"]
    if one["pages"]:
        break
    assert time.monotonic() < end, one
assert one["state"] == "late-pages" and one["pages"] == 2 and one["bytes"] == 2 * PAGE and one["directory"] == os.environ["IMAGES"], one
assert s.close() == 0
PY
	if [ "$how" ]; then wait "$server" || fail "--lazy-pages --once: $?"; server=; else server_stop; fi
done
rc=0; "$DRAY" status "$T/run" > "$T/out" 2> "$T/err" || rc=$?
[ "$rc" = 6 ] && [ "$(grep -o "$T/run" "$T/err" | wc -l)" = 1 ] && grep -q metrics.sock "$T/err" || fail "nobody there: exit $rc, $(cat "$T/err")"
