# SPDX-License-Identifier: Apache-2.0
# tls.sh - credentials for the two hosts. Sourced behind hosts.sh, once $T is there.
#
#   certs_make           certificates in $T/certs (make-certs)
#   creds NAME [CA]      prints the options that give NAME's certificate and trust CA (ca)
certs_make() {
	command -v openssl > /dev/null || skip "needs openssl"
	mkdir -p "$T/certs"
	"$LIB/make-certs" "$T/certs" || fail "certificates"
}
creds() { echo "--tls-cert $T/certs/$1.pem --tls-key $T/certs/$1.key --tls-cacert $T/certs/${2:-ca}.pem"; }
# The agent of a host with TLS, on an address that others reach, without --insecure.
tls_agent() {
	local h=$1
	shift
	agent_start "$h" $(creds "host-$h") "$@"
}
