#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A page server with credentials publishes what a sender with a good certificate and an allowed name sends. Another name, another authority, no
# certificate, plain text, and a session that is cut end with a reason in the log that names the peer; nothing of them is left, their neighbour
# arrives, its chain is not broken, its directory is the next one, and the metrics count them. With credentials it listens where others reach it, without --insecure; TLS to one
# without is named as such.
. "$(dirname "$0")/../lib/page_server.sh"
. "$(dirname "$0")/../lib/tls.sh"
LIB=$root/tests/lib
certs_make
# tls_sender: Python on standard input, which has tls(NAME), a Sender over TLS with that certificate (None: without any)
tls_sender() {
	{ cat << 'PY'
import ssl
def tls(name, **more):
    s = Sender(os.environ["PORT"], **more)
    c = ssl.create_default_context(cafile=os.environ["T"] + "/certs/ca.pem")
    if name:
        c.load_cert_chain(os.environ["T"] + "/certs/%s.pem" % name, os.environ["T"] + "/certs/%s.key" % name)
    s.s = c.wrap_socket(s.s, server_hostname="127.0.0.1")
    return s
def kept_out(name):
    try:
        s = tls(name)
        return s.dropped()
    except (ConnectionError, ssl.SSLError):
        return True
PY
	cat; } > "$T/tls_sender"
	sender < "$T/tls_sender"
}
server_start --chain --address 0.0.0.0 --metrics "unix:$T/m" $(creds host-a) --tls-allow host-b
tls_sender << 'PY'
for layout in (24, 32):
    s = tls("host-b", layout=layout)
    parent = s.open(1)
    assert parent == (layout == 32), parent
    s.pages(0x1000, page(1) * 40)
    good = tls("host-b", layout=layout)
    good.open(1) # so that whichever of the two is the last has this page map
    assert kept_out("host-a") and kept_out("stranger") and kept_out(None)
    plain = Sender(os.environ["PORT"])
    plain.s.sendall(bytes(24))
    try:
        got = plain.s.recv(64)
    except ConnectionError:
        got = b""
    assert got[:2] == b"\x15\x03" or not got, got
    good.pages(0x1000, page(2))
    assert good.close() == 0
    assert s.close() == 0
assert published(os.environ["IMAGES"] + "/1", 1) == ([(0x1000, 40, 4)], page(1) * 40)
assert kept_out("host-a")
import time
from prometheus import metrics
end = time.monotonic() + 60
while metrics("unix:" + os.environ["T"] + "/m")["dray_tls_failures_total"] != 9: # two times two other names, nobody, and plain text; and one
    assert time.monotonic() < end
    time.sleep(0.02)
next_round = tls("host-b")
assert next_round.open(1) == 1 # not broken by who was kept out
next_round.pages(0x1000, page(3))
assert next_round.close() == 0
cut = tls("host-b")
cut.open(3)
cut.pages(0x1000, page(2))
cut.s.close()
PY
await 20 grep -q 'session-failed .*name="host-b"' "$T/log"
published_sets() { ls "$IMAGES"/*/pagemap-*.img 2> /dev/null | wc -l; }
no_other_left() { [ "$(ls "$IMAGES" | wc -l)" = 5 ]; }
await 20 no_other_left
[ "$(published_sets)" = 5 ] || fail "not five sets: $(ls "$IMAGES"/*)"
for words in 'sender 127.0.0.1:[0-9]*: TLS: the certificate is of host-a, not of any that --tls-allow names' 'unable to get local issuer' \
	'shows no certificate' 'TLS: the other side does not speak it' 'session-published .*name="host-b"' 'session-failed .*name="host-b"'; do
	await 20 grep -q "$words" "$T/log"
done
server_stop

server_start $(creds host-a) --metrics "unix:$T/m2"
tls_sender << 'PY'
from prometheus import await_metric
images = os.environ["IMAGES"] + "/"
free = next(n for n in range(1, 100) if not os.path.exists(images + str(n)))
for n in range(3):
    assert kept_out("stranger")
    await_metric("unix:" + os.environ["T"] + "/m2", "dray_tls_failures_total", n + 1)
s = tls("host-b")
s.open(1)
s.pages(0x1000, page(1))
assert s.close() == 0
assert os.path.exists("%s%d/pagemap-1.img" % (images, free)), os.listdir(images)
PY
server_stop

server_start
tls_sender << 'PY'
assert kept_out("host-b")
PY
await 20 grep -q 'speaks TLS, for which this server was given no credentials' "$T/log"
server_stop
rc=0; "$DRAY" page-server -D "$IMAGES" --tls-cert "$T/certs/none.pem" 2> "$T/err" || rc=$?
[ "$rc" != 0 ] && grep -q "$T/certs/none.pem" "$T/err" || fail "a missing file: $rc, $(cat "$T/err")"

# as criu: one session; what is listened at must be the sender's name too, unless it is not to be looked at
ln -s "$DRAY" "$T/criu"
criu_server() { # DIR OPTION...
	mkdir -p "$T/$1"
	: > "$T/out"
	"$T/criu" page-server -D "$T/$1" --address 127.0.0.1 --port 0 --tls $(creds host-a) -v3 "${@:2}" > "$T/out" 2>> "$T/log" < /dev/null &
	server=$!
	await 20 grep -q listening "$T/out"
	port=$(sed 's/.*://' "$T/out")
}
whole() { # NAME
	WHO=$1 tls_sender << 'PY'
s = tls(os.environ["WHO"])
s.open(3)
s.pages(0x1000, page(3))
assert s.close() == 0
PY
}
criu_server checked
whole host-b
wait "$server" || fail "criu page-server: $?"
criu_server unchecked --tls-no-cn-verify
whole wild
wait "$server" || fail "criu page-server --tls-no-cn-verify: $?"
[ -e "$T/checked/pagemap-3.img" ] && [ -e "$T/unchecked/pagemap-3.img" ] || fail "criu page-server published nothing"
criu_server wild
tls_sender << 'PY'
assert kept_out("wild")
PY
rc=0; wait "$server" || rc=$?
server=
[ "$rc" != 0 ] && [ -z "$(ls "$T/wild")" ] || fail "a sender of another name than the address was let in"
