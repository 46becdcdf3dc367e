#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --json: one object a line; the last one has the outcome and its figures, and they agree with each other.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_start --size 32M --rate 10
rc=0; migrate || rc=$?
told_right "$rc" b
"$PYTHON" - "$T/migrate.out" <<'PY' || fail "the JSON"
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
last = lines[-1]
for name in "outcome tracker engine rounds pages bytes_on_wire compression_ratio blackout_ms predicted_blackout_ms total_ms".split():
    assert name in last, "no " + name
assert last["outcome"] == "moved" and last["engine"] == "native", last
assert last["tracker"] in ("wp-async", "soft-dirty", "none"), last["tracker"]
assert isinstance(last["rounds"], list) and last["rounds"], "no rounds"
assert sum(r["pages"] for r in last["rounds"]) == last["pages"], "pages of the rounds don't add up"
assert last["pages"] >= 32 * 256, "fewer pages than the process has"
assert 0 < last["bytes_on_wire"]
assert 0 < last["blackout_ms"] <= last["total_ms"]
assert last["compression_ratio"] > 0
assert all("event" in l for l in lines[:-1]), "an event without its name"
PY
settled b
