#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# More sessions at once than whoever started the page server may have open files: it takes as many as the system lets it have.
. "$(dirname "$0")/../lib/page_server.sh"
[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 256 ] || skip "no more descriptors are to be had here"
ulimit -Sn 32
server_start
ulimit -Sn 256
sender << 'PY'
many = [Sender(os.environ["PORT"]) for n in range(48)]
for n, s in enumerate(many):
    s.open(n + 1)
    s.pages(0x1000, page(n))
for s in many:
    assert s.close() == 0
PY
[ "$(find "$IMAGES" -name 'pagemap-*.img' | wc -l)" = 48 ] || fail "not 48 sets"
server_stop
