#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent's metrics know a migration that arrived, with its pages and rounds, one that a limit refused, and a peer that speaks TLS to an agent without
# credentials; the exporter is no part of any migration and goes with its agent, however that ends.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin without-agent
value() { # metric
	PYTHONPATH="$hosts_root/tests/lib" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -c \
		'import sys; from prometheus import metrics; print("%d" % metrics("unix:" + sys.argv[1])[sys.argv[2]])' "$T/m" "$1"
}
is() { [ "$(value "$1")" = "$2" ]; }

agent_start b --max-memory 1M --metrics "unix:$T/m"
subject_start --data random
rc=0; migrate || rc=$?
told_right "$rc" a
settled a
await 20 is 'dray_agent_migrations_ended_total{outcome="limit"}' 1
await 20 is 'dray_limits_hit_total{limit="max-memory"}' 1
await 20 is dray_agent_migrations_running 0
is_called() { [ "$(cat "/proc/$1/comm" 2> /dev/null)" = "$2" ]; }
watcher=$(child_of "${pid[agent-b]}")
is_called "$watcher" dray-metrics || fail "nobody watches the exporter"
exporter=$(child_of "$watcher")
is_called "$exporter" dray-exporter || fail "no exporter"
agent_kill b
await 20 gone "$exporter"
await 20 gone "$watcher"

agent_start b --metrics "unix:$T/m"
subject_start --data random
rc=0; migrate || rc=$?
told_right "$rc" b
await 20 is 'dray_agent_migrations_ended_total{outcome="success"}' 1
[ "$(value dray_agent_pages_total)" -gt 0 ] && [ "$(value dray_agent_rounds_total)" -gt 0 ] || fail "nothing was counted"
[ "$(value dray_agent_received_bytes_total)" -gt 4096 ] || fail "no bytes were counted"
is dray_agent_pages_total "$(field pages)" || fail "the source sent $(field pages) pages"
is dray_agent_zero_pages_total $(($(field zero_pages) + $(field drop_pages))) || fail "the source left out $(field zero_pages) and $(field drop_pages) pages"
is dray_agent_migrations_accepted_total 1 || fail "accepted: $(value dray_agent_migrations_accepted_total)"
settled b
on b /usr/bin/python3 -c 'import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
s.settimeout(120)
s.recv(1)' "${host_addr[b]}" "${agent_addr##*:}" || fail "the agent says nothing to TLS"
await 20 is dray_tls_failures_total 1
agent_stop b || fail "the agent did not drain"
[ ! -e "$T/m" ] || fail "the socket stays"
