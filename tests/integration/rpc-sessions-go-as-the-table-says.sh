#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a connection may ask for, what is answered to what it may not, and when it ends: over a service's socket and a swrk's, the same.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
service_start
client <<'EOF_CLIENT'
OTHERS = [rpc.EMPTY, rpc.NOTIFY]
CLOSED_BY_KEEP_OPEN = [rpc.EMPTY, rpc.DUMP, rpc.RESTORE, rpc.CHECK, rpc.PRE_DUMP, rpc.NOTIFY, rpc.WAIT_PID, rpc.SINGLE_PRE_DUMP]
NEED_OPTS = [rpc.DUMP, rpc.RESTORE, rpc.PRE_DUMP, rpc.SINGLE_PRE_DUMP, rpc.PAGE_SERVER, rpc.PAGE_SERVER_CHLD, rpc.CPUINFO_DUMP, rpc.CPUINFO_CHECK]


def version(c, **fields):
    resp = c.ask(rpc.VERSION, **fields)
    check(resp.type == rpc.VERSION and resp.success, "no version")
    check((resp.version.major_number, resp.version.minor_number) >= (3, 16), "a version that clients refuse")
    check(not resp.version.HasField("gitid"), "a version with a gitid, which clients round")
    check(not resp.HasField("cr_errmsg"), "a success with an error")


def raw_type(number, keep_open=None):
    """A request of a type that the schema does not have."""
    return bytes([8, number]) + (b"" if keep_open is None else bytes([0x20, keep_open]))


for connect in (lambda: Client.service(T + "/rpc.sock"), Client.swrk):
    in_swrk = connect == Client.swrk

    def ends(c, status):
        check(c.is_closed(), "not closed")
        check(not in_swrk or c.exit_status() == status, "exit status")

    with connect() as c:  # one request
        version(c)
        ends(c, 0)
    with connect() as c:  # several
        version(c, keep_open=True)
        version(c, keep_open=True)
        version(c, keep_open=False)
        ends(c, 0)
    with connect() as c:  # several at once
        for _ in range(20):
            c.send(rpc.VERSION, keep_open=True)
        for _ in range(20):
            check(c.receive().type == rpc.VERSION, "pipelined")
        version(c)
        ends(c, 0)
    with connect() as c:  # what is behind the last one is lost
        answers = 0
        try:
            for _ in range(2):
                c.send(rpc.VERSION)
        except BrokenPipeError:
            pass
        while not c.is_closed():  # a reset may overtake the answer
            answers += 1
        check(answers <= 1, "answered behind the last one")
        check(not in_swrk or c.exit_status() == 0, "exit status")
    with connect() as c:  # options that nobody looks at
        version(c, opts={"images_dir_fd": -1, "log_file": "/no/such/place", "tls": True})
        ends(c, 0)
    for type_ in OTHERS:
        with connect() as c:
            resp = c.ask(type_)
            check(resp.type == rpc.EMPTY and not resp.success and not resp.HasField("cr_errno"), "EMPTY")
            ends(c, 255)
    for number in (14, 99):
        with connect() as c:
            c.send_raw(raw_type(number))
            resp = c.receive()
            check(resp.type == rpc.EMPTY and not resp.success, "an unknown type")
            ends(c, 255)
        with connect() as c:
            c.send_raw(raw_type(number, 1))
            ends(c, 255)
    for type_ in CLOSED_BY_KEEP_OPEN:
        with connect() as c:
            c.send(type_, opts={"images_dir_fd": -1}, keep_open=True)
            ends(c, 255)
    for type_ in NEED_OPTS:
        with connect() as c:
            resp = c.ask(type_)
            expected = rpc.PAGE_SERVER if type_ == rpc.PAGE_SERVER_CHLD else type_
            check(resp.type == expected and not resp.success and resp.cr_errmsg, "without opts")
            check(c.is_closed(), "still open")
    for junk in (b"\x00", b"\xff" * 100, b"\x20\x01", os.urandom(1000)):  # no request; no type
        with connect() as c:
            c.send_raw(junk)
            ends(c, 255)
    with connect() as c:  # an empty packet
        c.send_raw(b"")
        ends(c, 255)
    with connect() as c:  # an unknown field is skipped
        c.send_raw(rpc.criu_req(type=rpc.VERSION).SerializeToString() + b"\xa2\x3f\x03abc")
        check(c.receive().success, "unknown field")
        ends(c, 0)
    with connect() as c:  # a large one is served
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        version(c, opts={"images_dir_fd": -1, "skip_mnt": ["x" * 1000] * 150})
        ends(c, 0)
    with connect() as c:  # WAIT_PID waits for children only
        resp = c.ask(rpc.WAIT_PID, pid=1)
        check(resp.type == rpc.WAIT_PID and not resp.success and not resp.HasField("status"), "WAIT_PID")
        ends(c, 255)
    with connect() as c:  # a client that says nothing and goes
        c.sock.shutdown(socket.SHUT_WR)
        ends(c, 255)
EOF_CLIENT
