#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A Python program with seven threads, queues and locks moves while it works; it finds its own data right.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin
subject_run "$PYTHON" "$hosts_root/tests/programs/threads.py" "$T"
advances 200
rc=0; migrate || rc=$?
told_right "$rc" b
advances 200
settled b
