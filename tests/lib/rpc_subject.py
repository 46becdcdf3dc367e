# SPDX-License-Identifier: Apache-2.0
"""rpc_subject - a process that is dumped and restored: bench/workload, which writes all the time, knows its own data, and counts its beats."""
import os
import re
import signal
import subprocess
import time

from rpc_client import TIMEOUT, check, directory


def await_(condition, what):
    end = time.monotonic() + TIMEOUT
    while not condition():
        check(time.monotonic() < end, "not in time: " + what)
        time.sleep(0.005)


def state_of(pid):
    """R, S, T ... or None."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def parent_of(pid):
    with open("/proc/%d/stat" % pid) as f:
        return int(f.read().rpartition(")")[2].split()[1])


class Subject:
    def __init__(self, where, size="8M", rate="0.5", **popen):
        os.makedirs(where, exist_ok=True)
        os.chown(where, popen.get("user", -1), popen.get("group", -1))
        self.where = where
        files = {name: os.path.join(where, name) for name in ("beat", "report", "ready")}
        self.files = files
        for path in files.values():
            if os.path.exists(path):
                os.unlink(path)
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(
            [os.environ["BUILD"] + "/subjects/workload", "--size", size, "--rate", rate, "--threads", "2", "--data", "heap", "--verify",
             *(x for name, path in files.items() for x in ("--" + name, path))],
            stdin=null, stdout=null, stderr=null, start_new_session=True, **popen)
        self.pid = self.process.pid
        await_(lambda: os.path.exists(files["ready"]), "the subject is ready")

    def beats(self):
        with open(self.files["beat"]) as f:
            return [int(line) for line in f.read().split("\n")[:-1]]

    def goes_on(self):
        before = len(self.beats())
        await_(lambda: len(self.beats()) > before + 20, "the subject goes on")
        beats = self.beats()
        check(beats == list(range(1, len(beats) + 1)), "more than one copy ran, or it lost its place")

    def is_right(self):
        """All its pages are what it wrote, and it goes on."""
        self.goes_on()
        if os.path.exists(self.files["report"]):
            os.unlink(self.files["report"])
        os.kill(self.pid, signal.SIGUSR1)
        await_(lambda: os.path.exists(self.files["report"]) and open(self.files["report"]).read().endswith("\n"), "the subject's verdict")
        with open(self.files["report"]) as f:
            text = f.read()
        check('"verdict":"right"' in text, "wrong data: " + text)

    def is_gone(self):
        """The original, killed by its dump."""
        check(self.process.wait(TIMEOUT) == -signal.SIGKILL, "it did not end by SIGKILL")
        await_(lambda: state_of(self.pid) is None, "it is gone")  # a restored one is init's to wait for

    def end(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self.process.returncode is None:
            self.process.wait(TIMEOUT)
        await_(lambda: state_of(self.pid) in (None, "Z"), "the subject ends")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()




def images(path):
    return sorted(os.listdir(path))


def has_image(path, pattern):
    return any(re.fullmatch(pattern, name) for name in images(path))


__all__ = ["Subject", "await_", "state_of", "parent_of", "images", "has_image", "directory", "signal"]
