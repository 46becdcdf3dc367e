#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A client that sends descriptors with its requests gives the server nothing: neither the service, nor a worker, nor swrk has them afterwards.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
service_start
client "$service" <<'EOF_CLIENT'
service = int(sys.argv[1])


def send_with(c, fds, type_, opts=None, **fields):
    req = rpc.criu_req(type=type_, **fields)
    if opts:
        fill(req.opts, opts)
    socket.send_fds(c.sock, [req.SerializeToString()], fds)


def files_of(pid):
    found = []
    for f in os.listdir("/proc/%d/fd" % pid):
        try:
            found.append(os.readlink("/proc/%d/fd/%s" % (pid, f)))
        except FileNotFoundError:  # closed in between
            pass
    return found


def worker():
    with open("/proc/%d/task/%d/children" % (service, service)) as f:
        return int(f.read().split()[0])


def has(pid, pipe):
    return os.readlink("/proc/self/fd/%d" % pipe) in files_of(pid)


for connect in (lambda: Client.service(T + "/rpc.sock"), Client.swrk):
    r, w = os.pipe()
    with connect() as c:
        send_with(c, [w] * 10, rpc.VERSION, keep_open=True)
        check(c.receive().type == rpc.VERSION, "VERSION")
        check(not has(c.process.pid if c.process else service, w), "it was taken")
        send_with(c, [w] * 253, rpc.CPUINFO_DUMP, {"images_dir_fd": directory(T + "/images")}, keep_open=True)
        check(c.receive().success, "CPUINFO_DUMP")
        check(not has(c.process.pid if c.process else worker(), w), "it was taken")
        os.close(w)
        check(os.read(r, 1) == b"", "somebody holds the other end")
        os.close(r)
EOF_CLIENT
