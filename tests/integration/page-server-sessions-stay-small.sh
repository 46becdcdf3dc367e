#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Four sessions at once take a large set each, 100,000 ranges and 48 MiB of pages that build on a set before: what each holds for itself stays below what
# docs/page-server.md says (Memory), and no more of it at the end than after a quarter. So does a native session with two connections.
case ${SAN:-} in *address* | *thread* | *memory*) echo "a sanitizer's own memory is not told from a session's"; exit 77 ;; esac
. "$(dirname "$0")/../lib/page_server.sh"
server_start
sender << 'PY'
s = Sender(os.environ["PORT"])
s.open(41)
for n in range(8000):
    s.pages(0x100000000 + 2 * PAGE * n, page(n % 251))
assert s.close() == 0
PY
server_stop
mv "$IMAGES/1" "$T/before"
server_start --prev-images-dir "$T/before"
sender << 'PY'
KIB = 1024
STATED = (512 + 64 + 1024) * KIB  # the buffer, for the set before, and its own


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(p) for p in f.read().split()]


def private(pid):
    """Bytes that are dirty and nobody else's; of a file that is written through a mapping, the file's."""
    total = kib = 0
    try:
        with open("/proc/%d/smaps" % pid) as f:
            for line in f:
                key, value = line.split(None, 1)
                if key == "Private_Dirty:":
                    kib = int(value.split()[0])
                elif key == "VmFlags:" and "sh" not in value.split():
                    total += kib * KIB
    except (FileNotFoundError, ProcessLookupError): # of a session before, which has just ended
        return 0
    return total


def ranges(s, vaddr, count, flags):
    """Every second page, said at once."""
    s.s.sendall(b"".join(struct.pack("<IxxxxQQQ", ADD_F | flags << 16, 1, vaddr + 2 * PAGE * n, s.dst) for n in range(count)))


senders = [Sender(os.environ["PORT"]) for _ in range(4)]
pages = b"".join(page(n % 251) for n in range(512))
after = []
for s in senders:
    assert s.parent(41) == 1 and s.open(41) == 1
for n in range(24):
    for s in senders:
        s.pages(0x10000000 + n * len(pages) * 2, pages)
    if n % 6 == 5:
        after.append(0)
        for s in senders:
            assert s.parent(41) == 1  # so what was said before is done with
        for pid in children(int(os.environ["SERVER"])):
            after[-1] = max(after[-1], private(pid))
for s in senders:
    ranges(s, 0x100000000, 8000, IN_PARENT)
for n in range(10):
    for s in senders:
        ranges(s, 0x200000000 + n * 20000 * PAGE, 10000, LAZY)
for s in senders:
    assert s.parent(41) == 1
after.append(max(private(pid) for pid in children(int(os.environ["SERVER"]))))
assert 128 * KIB <= min(after) and max(after) < STATED, after
assert after[-2] <= after[0] + 64 * KIB and after[-1] <= after[0] + 128 * KIB, after
for s in senders:
    assert s.close() == 0
native, second = Native(os.environ["PORT"], numbered=True), Sender(os.environ["PORT"])
assert second.hello(7, 1, native.token, FEATURES | NUMBERED)[0] == 0
second.take(16)
assert native.open(41) == 1
for n in range(24):
    vaddr = 0x10000000 + n * len(pages) * 2
    for half in range(2):
        native.frame(vaddr + half * len(pages) // 2, pages[half * len(pages) // 2:][:len(pages) // 2])
    second.s.sendall(struct.pack("<Q", native.number))
    second.say(ADD_F, PRESENT, 512, vaddr + len(pages), native.dst)
    second.s.sendall(pages)
    native.number += 1
assert native.parent(41) == 1
held = max(private(pid) for pid in children(int(os.environ["SERVER"])))
assert 128 * KIB <= held < STATED + (100 + 512) * KIB, held
assert native.close() == 0
PY
