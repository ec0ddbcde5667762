#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What Firecracker and cloud-hypervisor are to vsock, for a guest whose host this program is.

    ampsock-run --link vsock-device:SOCKET,3 -- monitor.py PATH PORT ...

PATH takes `CONNECT <port>` for the guest; its connections to a PORT go to PATH_PORT.
"""
import socket
import sys
import threading

GUEST, ANY = 3, socket.VMADDR_CID_ANY


def pump(a, b):
    """One way, until its end, which is passed on."""
    try:
        while True:
            data = a.recv(65536)
            if not data:
                break
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def join(a, b):
    t = threading.Thread(target=pump, args=(a, b), daemon=True)
    t.start()
    pump(b, a)
    t.join()
    a.close()
    b.close()


def from_guest(path, port, conn):
    u = socket.socket(socket.AF_UNIX)
    try:
        u.connect(f"{path}_{port}")
    except OSError:
        conn.close()
        return
    join(conn, u)


def to_guest(u):
    line = b""
    while not line.endswith(b"\n"):
        part = u.recv(1)
        if not part:
            return
        line += part
    v = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        v.connect((GUEST, int(line.split()[1])))
    except OSError:
        u.close()
        return
    u.sendall(b"OK 1073741824\n")
    join(u, v)


def serve(listener, fn, *args):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=fn, args=(*args, conn), daemon=True).start()


def main():
    path = sys.argv[1]
    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    door.listen(64)
    for port in map(int, sys.argv[2:]):
        v = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        v.bind((ANY, port))
        v.listen(64)
        threading.Thread(target=serve, args=(v, from_guest, path, port), daemon=True).start()
    print("ready", flush=True)
    serve(door, to_guest)


main()
