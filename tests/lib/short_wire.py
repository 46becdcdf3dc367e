#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""short_wire.py PORT TARGET_PORT BYTES - carries one connection on the loopback, and breaks it once BYTES have come back from the target.
Prints "ready", then "cut"."""
import socket
import sys
import threading


def forth(client, server):
    while data := client.recv(1 << 16):
        server.sendall(data)


def main():
    port, target, left = map(int, sys.argv[1:])
    listener = socket.create_server(("127.0.0.1", port))
    print("ready", flush=True)
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", target))
    threading.Thread(target=forth, args=(client, server), daemon=True).start()
    while left > 0 and (data := server.recv(min(left, 1 << 16))):
        client.sendall(data)
        left -= len(data)
    for s in (client, server):
        s.shutdown(socket.SHUT_RDWR)
    print("cut", flush=True)


main()
