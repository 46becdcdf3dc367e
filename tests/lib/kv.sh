# SPDX-License-Identifier: Apache-2.0
# kv.sh - a key-value server that is moved from a to b under the load of tests/lib/kv_load.py. Sourced behind faults.sh.

kv_begin() { faults_begin; }
kv_listens() { on "$1" ss -Hltn "sport = :$2" | grep -q .; }

# kv_moves PROTOCOL PORT [OPTION of kv_load...]: the process `server` on a, moved; then every key and write is read back.
kv_moves() {
	local protocol=$1 port=$2 rc=0 blackout
	shift 2
	await 20 kv_listens a "$port"
	start b load "$PYTHON" "$LIB/kv_load.py" "$protocol" "${host_addr[a]},${host_addr[b]}" "$port" "$@"
	await 60 grep -q ready "$T/load.out"
	MOVED=server migrate --tcp-close || rc=$?
	told_right "$rc" b
	await 20 kv_listens b "$port"
	blackout=$(field blackout_ms)
	kill -TERM "${pid[load]}"
	finish load || fail "the load: $(tail -n 3 "$T/load.out" "$T/load.err")"
	tail -n 1 "$T/load.out" | "$PYTHON" -c 'import json, sys
r = json.load(sys.stdin)
assert r["wrong"] == 0, r
assert r["now_at"] == sys.argv[1] and r["reconnects"] >= 1, r
print("ok: %d keys, %d writes right; unreachable %.1f ms, blackout %s ms" % (r["keys"], r["writes"], r["unreachable_ms"], sys.argv[2]))' \
		"${host_addr[b]}" "$blackout" || fail "$(tail -n 1 "$T/load.out")"
	await 10 eval '! process_there a "${inner[server]}" > /dev/null'
	pid[moved]=$(process_there b "${inner[server]}") || fail "the server is not on b"
	nothing_left a
	nothing_left b moved
}
