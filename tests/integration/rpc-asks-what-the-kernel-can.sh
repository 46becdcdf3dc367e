#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# CHECK, FEATURE_CHECK, CPUINFO_DUMP and CPUINFO_CHECK say over RPC what the program says by itself; directories are asked for only where they
# are needed; features that are not asked for are answered false.
set -eu
. "$(dirname "$0")/../lib/rpc.sh"
service_start
client <<'EOF_CLIENT'
for connect in (lambda: Client.service(T + "/rpc.sock"), Client.swrk):
    with connect() as c:
        resp = c.ask(rpc.CHECK)
        check(resp.type == rpc.CHECK and resp.success, resp.cr_errmsg)
        check(c.is_closed(), "still open")
    for opts, fine in (({"images_dir_fd": -1}, True), ({"images_dir_fd": -1, "log_file": "check.log"}, False),
                       ({"images_dir_fd": -1, "log_file": "check.log", "log_to_stderr": True}, True),
                       ({"images_dir_fd": directory(T + "/check"), "log_file": "check.log"}, True),
                       ({"images_dir": T + "/check", "images_dir_fd": -1, "log_file": "check.log"}, True),
                       ({"images_dir_fd": -1, "log_file": "a/b"}, False)):
        with connect() as c:
            resp = c.ask(rpc.CHECK, opts)
            check(resp.success == fine, "CHECK %s: %s" % (opts, resp.cr_errmsg))
    check(os.stat(T + "/check/check.log").st_mode & 0o777 == 0o600, "mode of the log")

    with connect() as c:
        names = ("mem_track", "lazy_pages", "pidfd_store")
        resp = c.ask(rpc.FEATURE_CHECK, features=rpc.criu_features(**{n: True for n in names}), keep_open=True)
        check(resp.type == rpc.FEATURE_CHECK and resp.success, "FEATURE_CHECK")
        check(all(resp.features.HasField(n) for n in names), "a feature is missing in the answer")
        check(resp.features.pidfd_store, "this kernel has pidfds")
        resp = c.ask(rpc.FEATURE_CHECK, features=rpc.criu_features(mem_track=False), keep_open=True)
        check(resp.success and all(resp.features.HasField(n) and not getattr(resp.features, n) for n in names), "not asked for")
        resp = c.ask(rpc.FEATURE_CHECK, keep_open=True)
        check(not resp.success and not resp.HasField("features") and not resp.HasField("cr_errno") or resp.cr_errno, "without features")
        images = {"images_dir_fd": directory(T + "/cpu")}
        resp = c.ask(rpc.CPUINFO_CHECK, {"images_dir_fd": directory(T + "/empty")}, keep_open=True)
        check(resp.type == rpc.CPUINFO_CHECK and not resp.success and resp.cr_errmsg, "no image")
        resp = c.ask(rpc.CPUINFO_DUMP, images, keep_open=True)
        check(resp.type == rpc.CPUINFO_DUMP and resp.success, resp.cr_errmsg)
        check(os.path.getsize(T + "/cpu/cpuinfo.img") > 20, "no cpuinfo.img")
        resp = c.ask(rpc.CPUINFO_CHECK, images, keep_open=False)
        check(resp.type == rpc.CPUINFO_CHECK and resp.success, resp.cr_errmsg)
        check(c.is_closed(), "still open")
EOF_CLIENT
