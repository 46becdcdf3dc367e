# SPDX-License-Identifier: Apache-2.0
"""rpc_client - a client of the RPC interface, written from docs/rpc.md. Wants BUILD (rpc_pb2.py is in its gen/) and DRAY in the environment.

    with Client.service(path) as c:  ...  or  with Client.swrk() as c:
        resp = c.ask(rpc.DUMP, {"pid": 41, "images_dir_fd": fd}, on_notify=lambda n: True)
"""
import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["BUILD"], "gen"))
if "pycriu" in sys.modules:  # has the same messages, and Python takes them but once
    from pycriu import rpc_pb2 as rpc
else:
    import rpc_pb2 as rpc

TIMEOUT = 120  # far above what anything takes: a test that hangs shall say where


class Gone(Exception):
    """The server closed the connection."""


class Client:
    def __init__(self, sock, process=None):
        self.sock = sock
        self.process = process
        self.notes = []
        sock.settimeout(TIMEOUT)

    @classmethod
    def service(cls, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(path)
        return cls(sock)

    @classmethod
    def swrk(cls, *options, pass_fds=()):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen([os.environ["DRAY"], "swrk", str(theirs.fileno()), *options], pass_fds=(theirs.fileno(), *pass_fds))
        theirs.close()
        return cls(ours, process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()
        if self.process:
            self.process.wait(TIMEOUT)

    def exit_status(self):
        """Of swrk, once it ended by itself."""
        return self.process.wait(TIMEOUT)

    def send(self, type_, opts=None, **fields):
        req = rpc.criu_req(type=type_, **fields)
        if opts is not None:
            fill(req.opts, opts)
        self.sock.send(req.SerializeToString())

    def send_raw(self, data):
        self.sock.send(data)

    def receive(self):
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Gone()
        check(len(data) <= 1024, "an answer of %d bytes" % len(data))
        return rpc.criu_resp.FromString(data)

    def ack(self, success=True, **fields):
        self.send(rpc.NOTIFY, notify_success=success, **fields)

    def ask(self, type_, opts=None, on_notify=None, **fields):
        """Sends, acknowledges notifications as on_notify(notify) says (None: says nothing more), returns the response."""
        self.send(type_, opts, **fields)
        while True:
            resp = self.receive()
            if resp.type != rpc.NOTIFY:
                return resp
            check(resp.success, "a notification without success")
            self.notes.append((resp.notify.script, resp.notify.pid))
            self.ack(on_notify(resp.notify) if on_notify else True)

    def is_closed(self):
        try:
            return self.sock.recv(1 << 16) == b""
        except ConnectionResetError:
            return True


def fill(message, values):
    for name, value in values.items():
        if isinstance(value, dict):
            getattr(message, name).SetInParent()
            fill(getattr(message, name), value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for v in value:
                fill(getattr(message, name).add(), v)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def directory(path):
    os.makedirs(path, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
