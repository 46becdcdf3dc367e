#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# page-server --lazy-pages: clients with headers of either length get the pages of a set and of the set before it, any number of clients at once, cut to
# what follows each other. What can't be or isn't there ends that client's session with its reason in the log, and no other's. With --once the
# outcome is the client's. A directory without page maps, and options about what is received, are refused at the start.
. "$(dirname "$0")/../lib/page_server.sh"
refused() { # WORDS OPTION...
	local rc=0
	"$DRAY" page-server "${@:2}" > "$T/out" 2> "$T/err" < /dev/null || rc=$?
	[ "$rc" = 2 ] || fail "${*:2}: exit $rc, not 2: $(cat "$T/err")"
	grep -qF -- "$1" "$T/err" || fail "${*:2}: does not say \"$1\": $(cat "$T/err")"
}

server_start --chain
sender <<'END'
s = Sender(PORT := os.environ["PORT"])
s.open(77)
s.pages(0x10000, b"a" * PAGE * 40)
s.pages(0x100000, b"A" * PAGE * 3)
assert s.close() == 0
s = Sender(PORT)
assert s.open(77) == 1
s.hole(0x10000, 10)
s.pages(0x10000 + 10 * PAGE, b"b" * PAGE * 10)
s.hole(0x10000 + 20 * PAGE, 20)
s.pages(0x200000, b"c" * PAGE * 1000)
s.hole(0x800000, 4, LAZY)  # stays with its sender
assert s.close() == 0
END
server_stop
IMAGES=$IMAGES/2
cat > "$T/lazy.py" <<'END'
from ps_sender import *

PORT = os.environ["PORT"]


class Client(Sender):
    def get(self, vaddr, nr, pid=77):
        self.say(GET, nr=nr, vaddr=vaddr, dst=pid)

    def got(self, vaddr, pid=77):
        cmd, nr, at, dst = struct.unpack("<IIQQ" if self.layout == 24 else "<IxxxxQQQ", self.take(self.layout))
        assert (cmd, at, dst) == (ADD_F | PRESENT << 16, vaddr, pid), (cmd, at, dst)
        return self.take(nr * PAGE)


END
client() { # runs what stands on standard input
	{ cat "$T/lazy.py"; cat; } > "$T/client.py"
	env PORT="$port" PYTHONPATH="$root/tests/lib" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$T/client.py" || fail "the client"
}

server_start --lazy-pages
client <<'END'
others = []
for layout in (24, 32):
    c = Client(PORT, layout)
    for vaddr, nr, data in ((0x10000, 1, b"a" * PAGE), (0x10000 + 9 * PAGE, 2, b"a" * PAGE + b"b" * PAGE),
                            (0x10000, 40, b"a" * PAGE * 10 + b"b" * PAGE * 10 + b"a" * PAGE * 20),
                            (0x10000 + 39 * PAGE, 100, b"a" * PAGE), (0x200000, 2000, b"c" * PAGE * 1000),
                            (0x200000, 0xffffffff, b"c" * PAGE * 1000)):
        c.get(vaddr, nr)
        assert c.got(vaddr) == data, (layout, hex(vaddr), nr)
    for i in range(1100):  # many questions before the first answer is read, each twice; more than it would know tasks
        c.get(0x200000 + (i // 2) * PAGE, 1)
    for i in range(1100):
        assert c.got(0x200000 + (i // 2) * PAGE) == b"c" * PAGE
    others.append(c)  # it stays while others come and go

bad = [dict(vaddr=0x10000, nr=1, pid=78), dict(vaddr=0x10000, nr=1, pid=0), dict(vaddr=0x10000, nr=1, pid=2**64 - 1),
       dict(vaddr=0x10000, nr=1, pid=77 << 8 | 1), dict(vaddr=0x10000 + 40 * PAGE, nr=1), dict(vaddr=0x100000, nr=1), dict(vaddr=0x800000, nr=1),
       dict(vaddr=0x10001, nr=1), dict(vaddr=0x10fff, nr=3), dict(vaddr=2**64 - PAGE, nr=1), dict(vaddr=0x10000, nr=2**63),
       dict(vaddr=0x10000, nr=2**64 - 1), dict(vaddr=0x10000, nr=2**52)]
for b in bad:
    c = Client(PORT)
    c.get(0x10000, 1)
    assert c.got(0x10000) == b"a" * PAGE
    c.get(**b)
    assert c.dropped(), b
for first in (dict(code=OPEN2, dst=77 << 8 | 1), dict(code=77), dict(code=GET, nr=0, vaddr=0x10000, dst=77), dict(code=CLOSE, flags=1)):
    c = Client(PORT)
    c.say(**first)
    try:
        c.s.shutdown(socket.SHUT_WR)
    except OSError: # it is over already
        pass
    assert c.dropped(), first
Client(PORT).s.close()
for c in others:
    c.get(0x10000, 1)
    assert c.got(0x10000) == b"a" * PAGE
    assert c.close() == 0
END
for words in 'of task 78: the images have no such task' 'of task 18446744073709551615: the images have no such task' \
	"at 0x800000 of task 77: the images don't have them" "at 0x38000 of task 77: the images don't have them" \
	'at 0x10001 of task 77: its address is not that of a page' 'asks for 18446744073709551615 pages at 0x10000 of task 77: it is longer' \
	'the client says OPEN2' '0x4d, which is no command' 'the client ended without a word'; do
	await 10 grep -qF -- "$words" "$T/log"
done
await 10 sh -c "[ \"\$(grep -c session-served '$T/log')\" = 2 ]"
server_stop

server_start --lazy-pages --once --metrics unix:"$T/metrics"
client <<'END'
c = Client(PORT)
c.get(0x10000, 1)
assert c.got(0x10000) == b"a" * PAGE
assert c.close() == 0
END
wait "$server" || fail "--once: ended with $?"
server_start --lazy-pages --once
client <<'END'
c = Client(PORT)
c.get(0x10000, 1)
assert c.got(0x10000) == b"a" * PAGE
END
rc=0; wait "$server" || rc=$?
[ "$rc" = 6 ] || fail "--once: a client that was cut ended with $rc"
server_start --lazy-pages --idle-timeout 200
client <<'END'
c = Client(PORT)
c.s.sendall(bytes(5))
assert c.dropped()
END
await 10 grep -q 'took nothing' "$T/log"
server_stop

mkdir "$T/empty"
refused 'no pagemap-PID.img is there' -D "$T/empty" --lazy-pages
refused '--lazy-pages receives nothing' -D "$IMAGES" --lazy-pages --chain
refused 'read the memory in these images' -D "$IMAGES" --lazy-pages --address 0.0.0.0
echo "ok: stored pages are served"
