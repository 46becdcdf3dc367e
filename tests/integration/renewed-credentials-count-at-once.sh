#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Credentials that are replaced under a running page server or agent count from the next connection on, without a restart; a session under way goes on, over a reload too. At SIGHUP
# the log says whether they are good, and when they ran out, which the metrics do, too; bad ones end nothing.
. "$(dirname "$0")/../lib/page_server.sh"
. "$(dirname "$0")/../lib/tls.sh"
LIB=$root/tests/lib
certs_make
mkdir "$T/now"
# renew NAME...: each file is replaced whole
renew() {
	local f
	for f in pem key; do
		cp "$T/certs/$1.$f" "$T/now/new" && mv "$T/now/new" "$T/now/cert.$f"
	done
}
now="--tls-cert $T/now/cert.pem --tls-key $T/now/cert.key --tls-cacert $T/certs/ca.pem"
logged() { [ "$(grep -c " $1 " "$T/log")" = "$2" ]; }
# shown NAME: who listens at $port shows this one's certificate
shown() {
	openssl s_client -connect "127.0.0.1:$port" -cert "$T/certs/host-a.pem" -key "$T/certs/host-a.key" -CAfile "$T/certs/ca.pem" < /dev/null > "$T/shown" 2>&1 || true
	grep -q "^subject=CN *= *$1\$" "$T/shown" || fail "it does not show $1: $(cat "$T/shown")"
}

# runs_out SOCKET DAYS: the certificate in so many days, says the metric
runs_out() {
	METRICS=unix:$1 DAYS=$2 sender << 'PY'
import time
from prometheus import metrics
left = metrics(os.environ["METRICS"])["dray_tls_certificate_end_seconds"] - time.time()
assert abs(left / 86400 - int(os.environ["DAYS"])) < 1, left
PY
}
renew host-a
server_start $now --metrics "unix:$T/m"
runs_out "$T/m" 30
shown host-a
mkfifo "$T/go"
sender << 'PY' &
import ssl
c = ssl.create_default_context(cafile=os.environ["T"] + "/certs/ca.pem")
c.load_cert_chain(os.environ["T"] + "/certs/host-b.pem", os.environ["T"] + "/certs/host-b.key")
s = Sender(os.environ["PORT"])
s.s = c.wrap_socket(s.s, server_hostname="127.0.0.1")
assert s.open(1) == 0
s.pages(0x1000, page(1))
open(os.environ["T"] + "/begun", "w").close()
open(os.environ["T"] + "/go").read()
s.pages(0x2000, page(2))
assert s.close() == 0
PY
under_way=$!
await 20 test -e "$T/begun"
renew host-b
shown host-b
kill -HUP "$server"
await 20 logged reloaded 1
shown host-b
echo bad > "$T/now/cert.pem"
kill -HUP "$server"
await 20 logged reload-failed 1
grep -q "$T/now/cert.pem" "$T/log" || fail "the file is not named"
renew host-a
shown host-a
echo > "$T/go"
wait "$under_way" || fail "the session under way"
[ -e "$IMAGES/1/pagemap-1.img" ] || fail "nothing was published"
server_stop

: > "$T/out"
: > "$T/log"
"$DRAY" agent --listen 127.0.0.1:0 --state-dir "$T/state" $now --metrics "unix:$T/a" > "$T/out" 2>> "$T/log" < /dev/null &
server=$!
await 20 grep -q listening "$T/out"
port=$(sed 's/.*://' "$T/out")
shown host-a
renew host-b
shown host-b
kill -HUP "$server"
await 20 logged credentials-good 1
runs_out "$T/a" 30
! logged certificate-ran-out 1 || fail "a good certificate is said to have run out"
renew expired
kill -HUP "$server"
await 20 logged certificate-ran-out 1
await 20 logged credentials-good 2
runs_out "$T/a" "$((($(date -d "$(openssl x509 -in "$T/certs/expired.pem" -noout -enddate | sed 's/.*=//')" +%s) - $(date +%s)) / 86400))"
echo bad > "$T/now/cert.pem"
kill -HUP "$server"
await 20 logged credentials-bad 1
renew host-a
shown host-a
server_stop
