#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An agent with credentials takes migrations of those that it knows and nobody else; each side says why. Nothing of a stranger stays, and the
# stranger's process runs on.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"; . "$here/../lib/tls.sh"
faults_begin without-agent
certs_make
crl="--tls-cacrl $T/certs/crl.pem"
tls_agent b $crl --tls-allow host-a,host-c
subject_start

seen=0
logged() { tail -n "+$((seen + 1))" "$T/agent-b.err" | grep -qiE -- "$1"; }
# refused NAME EXIT WORDS-HERE WORDS-THERE OPTION...
refused() {
	local name=$1 code=$2 here=$3 there=$4 rc=0
	shift 4
	seen=$(wc -l < "$T/agent-b.err")
	migrate "$@" || rc=$?
	[ "$rc" = "$code" ] || { cat "$T/migrate.err" >&2; fail "$name: exit $rc, not $code"; }
	said "$here"
	await 10 logged "$there"
	told_right "$rc" a
	nothing_left b
	advances 5
	report "$name is kept out"
}
refused "plain text" 3 "speaks TLS and nothing else.*--tls" "TLS: the other side does not speak it"
refused "another authority's" 3 "its CA did not sign it" "certificate of host-a is refused: unable to get local issuer" $(creds stranger)
refused "an expired one" 3 "expired" "refused: certificate has expired" $(creds expired)
refused "a revoked one" 3 "revoked" "refused: certificate revoked" $(creds revoked)
refused "a name that is not allowed" 3 "name in it is not one that it lets in" 'is of host-b, not of any that --tls-allow names' $(creds host-b)
refused "one who trusts another authority" 3 "the certificate of host-b is refused: unable to get local issuer" "its CA did not sign it" \
	$(creds host-a other-ca)
refused "one who wants another destination" 3 "not of any that --tls-allow names" "name in it is not one" $(creds host-a) --tls-allow host-c

# Without any certificate, by a client that is not ours. It would leave by itself at an end of its input.
mkfifo "$T/nothing"
on a timeout 120 openssl s_client -connect "${host_addr[b]}:$PORT" -CAfile "$T/certs/ca.pem" > "$T/s_client.out" 2>&1 <> "$T/nothing" || true
grep -qi 'certificate required\|handshake failure' "$T/s_client.out" || fail "a client without a certificate: $(cat "$T/s_client.out")"
await 10 logged "shows no certificate"
nothing_left b
report "no certificate is kept out"

# TLS towards an agent that has none.
agent_stop b || fail "the agent did not drain: $?"
agent_start b
refused "TLS to an agent without" 6 "does it speak TLS" "it speaks TLS, for which this agent was given no credentials" $(creds host-a)
agent_stop b || fail "the agent did not drain: $?"

# And the known one comes in, as who it is.
tls_agent b $crl --tls-allow host-a,host-c
rc=0; migrate $(creds host-a) $crl || rc=$?
told_right "$rc" b
case $(field tls) in relay | kernel) ;; *) fail "encrypted by: $(field tls)" ;; esac
grep -q ' offer peer=.*(host-a)' "$T/agent-b.err" || fail "the source's name is not in the log"
settled b
report "a known one comes in"
