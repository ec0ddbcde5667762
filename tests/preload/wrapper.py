#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 60
"""ampsock-run itself: options, what it refuses, signals, the exit status."""
import errno
import os
import shutil
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from prig import RUN, Prog, Wire, children_of, cleaned, eq, main, run, signal, subprocess, time, vm  # noqa: E402


def says(code, text, *argv):
    """Ends with code and has text on standard error."""
    p = Prog(RUN, *argv).end(code)
    if text not in p.err.decode():
        raise AssertionError(f"no {text!r}: {p}")


@cleaned
def options():
    """a wrong option is exit 2 with a word about what would be right"""
    says(2, "no program")
    says(2, "no program", "--offload")
    says(2, "ampsock-run: --lnk: no such option: did you mean --link; see --help", "--lnk", "x", "true")
    says(2, "ampsock-run: --lingr: no such option: did you mean --linger; see --help", "--lingr", "x", "true")
    says(2, "ampsock-run: --link: expected a value", "--link")
    says(2, "ampsock-run: -x: no such option", "-x", "true")
    says(2, "ampsock-run: -x: no such option", "-xv", "true")
    says(2, "ampsock-run: --offload=3: expected no value", "--offload=3", "true")
    says(2, "--link", "--link")
    says(2, "expected vhost-user:PATH", "--link", "vhost:x", "true")
    says(2, "expected vhost-user:PATH", "--link", "", "true")
    says(2, "expected a path", "--link", "vhost-user:", "true")
    says(2, "expected vsock-device:PATH,CID", "--link", "vsock-device:x", "true")
    for cid in ("2", "x", "-3", "4294967295", "3x"):
        says(2, "a number of at least 3", "--link", "vsock-device:x," + cid, "true")
    says(2, "expected a file", "--link", "rpmsg-host:x", "true")
    says(2, "expected a file", "--link", "rpmsg-remote:,bell", "true")
    for s in ("x", "-1", "1.5", "", "99999"):
        says(2, "--linger", "--linger", s, "true")
    for word in ("--help", "--version"):
        eq(b"ampsock-run" in Prog(RUN, word).end(0).out, True)


@cleaned
def links():
    """a link that can not come up is exit 125"""
    says(125, "No such file", "--link", "vsock-device:/nowhere/at/all,3", "true")
    says(125, "/nowhere/at/all: nobody answers there", "--link", "vhost-user:/nowhere/at/all", "true")
    says(125, "too long", "--link", "vsock-device:" + "x" * 200 + ",3", "true")
    with Wire() as w:
        p = run("sleep", "60", link=w.host)
        while not os.path.exists(w.guest[len("vhost-user:"):]):
            pass
        says(125, "in use", "--link", w.host, "true")
        q = run("sh", "-c", "echo up; exec sleep 60", link=w.guest).wait_for("up")
        says(125, "it has another guest", "--link", w.guest, "true")
        q.proc.send_signal(signal.SIGTERM)
        q.end(-signal.SIGTERM)
        p.proc.send_signal(signal.SIGTERM)
        p.end(-signal.SIGTERM)


@cleaned
def programs():
    """static, set-user-id and 32-bit programs are refused, what is not there is 127"""
    says(126, "statically linked", "busybox", "true")
    says(127, "No such file", "no-such-program")
    says(126, "Permission denied", "/etc/passwd")
    with Wire() as w:
        path = os.path.join(w.dir, "suid")
        shutil.copy("/bin/true", path)
        if os.getuid() == 0:
            os.chown(path, 65534, 65534)
            os.chmod(path, 0o4755)
        else:
            path = shutil.which("su") or "/usr/bin/passwd"
        says(126, "set-user-id", path)
        elf32 = os.path.join(w.dir, "elf32")
        with open("/bin/true", "rb") as f:
            image = bytearray(f.read())
        image[4] = 1
        with open(elf32, "wb") as f:
            f.write(image)
        os.chmod(elf32, 0o755)
        says(126, "64-bit", elf32)


@cleaned
def status():
    """exit status and signals are the program's"""
    run("sh", "-c", "exit 7").end(7)
    run("sh", "-c", "kill -KILL $$").end(-signal.SIGKILL)
    eq(run("echo", "--help", "-x").end().out, b"--help -x\n")
    eq(Prog(RUN, "echo", "--link").end().out, b"--link\n")
    p = run("sh", "-c", "trap 'echo caught; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    p.wait_for("up")
    p.proc.send_signal(signal.SIGTERM)
    eq(b"caught" in p.end(3).out, True)
    # the program closes its output: so nobody holds it open
    p = run("sh", "-c", "exec >&- ; read x", stdin=subprocess.PIPE, binary=True)
    eq(p.proc.stdout.read(), b"")
    p.proc.stdin.close()
    p.end(1)


@cleaned
def environment():
    """an earlier LD_PRELOAD stays; a preloaded library without ampsock-run does nothing"""
    p = Prog(RUN, "sh", "-c", "echo $LD_PRELOAD", env={"LD_PRELOAD": "libc.so.6"}).end()
    lib, rest = p.out.decode().strip().split(":")
    eq((os.path.basename(lib), rest), ("libampsock-preload.so", "libc.so.6"))
    script = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[0])"
    p = Prog("python3", "-c", script, env={"LD_PRELOAD": lib}).end()
    eq((p.out, p.err), (b"127.0.0.1\n", b""))
    p = Prog("python3", "-c", script, env={"LD_PRELOAD": lib, "AMPSOCK_RUN": "nonsense"}).end()
    eq(p.out, b"127.0.0.1\n")
    # ampsock-run is gone: its program hears of it
    p = run("python3", "-c", "import socket, sys; print('up', flush=True); sys.stdin.read()\n"
            "try: socket.socket(40)\nexcept OSError as e: print(e, flush=True)", stdin=subprocess.PIPE).wait_for("up")
    p.proc.kill()
    p.proc.wait()
    p.proc.stdin.close()
    p.wait_for("Network is down")
    p.forget()


@cleaned
def orphans():
    """what the program leaves is waited for, and has the link"""
    p = run("sh", "-c", f"socat -u SOCKET-LISTEN:40:0:{vm(700)} - & "
            f"(until socat -u EXEC:'echo from an orphan' SOCKET-CONNECT:40:0:{vm(700, 1)} 2>/dev/null; do sleep 0.05; done) & exit 5")
    eq(p.end(5).out, b"from an orphan\n")


@cleaned
def strangers():
    """who has not the token gets no answer; nonsense does no harm"""
    CONNECT, CLOSED, GETADDRINFO = 4, 7, 14  # enum amp_run_op
    import struct
    p = run("sh", "-c", "echo $AMPSOCK_RUN; read x; python3 -c 'import socket; print(socket.socket(40))'",
            stdin=subprocess.PIPE)
    p.wait_for(":")
    nonce, token, _ = p.lines[0].split(":")
    good = struct.pack("<QQ", int(token[:16], 16), int(token[16:], 16))
    door = "\0ampsock-run/" + nonce

    def ask(data):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(20)
            s.connect(door)
            s.send(data)
            return s.recv(65536)

    def req(op, key=good, ident=0, args=(0, 0, 0, 0), data=b"", length=None):
        return key + struct.pack("<QI4iI", ident, op, *args, len(data) if length is None else length) + data
    eq(ask(req(1, key=bytes(16), args=(40, 1, 0, 0))), b"")
    eq(ask(b"x"), b"")
    eq(ask(req(2, data=b"abc", length=4000)), b"")
    eq(ask(req(2, data=b"abc", length=2)), b"")
    for op in [n for n in range(2, GETADDRINFO) if n != CLOSED] + [0, 99, 0xFFFFFFFF]:
        for ident in (0, 1 << 16, 0xFFFFFFFFFFFFFFFF, 65535):
            eq(struct.unpack("<i", ask(req(op, ident=ident, data=b"x" * 40))[:4])[0] < 0, True)
    eq(struct.unpack("<i", ask(req(CLOSED, ident=1 << 16))[:4])[0], 0)
    for data in (b"", b"x", b"\0", b"name", b"name\0", b"name\0x", b"x" * 2048):
        eq(len(ask(req(GETADDRINFO, data=data))) > 0, True)
    eq(struct.unpack("<i", ask(req(1, args=(2 ** 31 - 1, -1, -1, 0)))[:4])[0] < 0, True)
    # a socket of its own; connect() without its descriptor, or with another's
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(door)
        s.send(req(1, args=(40, 1, 0, 0)))
        mine = socket.socket(fileno=socket.recv_fds(s, 65536, 1)[1][0])
    ident = int(mine.getsockname().decode().split("/")[2], 16)
    there = struct.pack("<HHIII", 40, 0, 1, 1, 0)
    for fds in ([], [0], [0, 1, 2]):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(door)
            socket.send_fds(s, [req(CONNECT, ident=ident, args=(1, 0, 0, 0), data=there)], fds)
            eq(struct.unpack("<i", s.recv(65536)[:4])[0], -errno.EALREADY)
    eq(struct.unpack("<i", ask(req(CONNECT, ident=ident, data=there))[:4])[0], -errno.ECONNREFUSED)
    mine.close()
    p.proc.stdin.close()
    eq("family=40" in p.end().out.decode(), True)


def nonce_of(p):
    """Everybody can read it in /proc/net/unix: here, from the program."""
    return p.wait_for(":").lines[0].split(":")[0]


@cleaned
def names_taken():
    """names of sockets to come cannot be taken by others beforehand"""
    p = run("sh", "-c", "echo $AMPSOCK_RUN; read x; python3 -c 'import socket; print(socket.socket(40))'",
            stdin=subprocess.PIPE)
    nonce, taken = nonce_of(p), []
    for serial in range(1, 20):
        for pair in range(4):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.bind(f"\0ampsock-run/{nonce}/{serial << 16:x}/40/1/{pair}")
            taken.append(s)
    p.proc.stdin.close()
    eq("family=40" in p.end().out.decode(), True)
    for s in taken:
        s.close()


@cleaned
def names_left():
    """names of sockets that are closed may be taken by others: the sockets are over all the same"""
    p = run("sh", "-c", "echo $AMPSOCK_RUN; exec python3 -c '"
            "import socket, sys; s = [socket.socket(40) for _ in range(200)]; print(1, flush=True); sys.stdin.read()'",
            stdin=subprocess.PIPE)
    nonce = nonce_of(p)
    p.wait_for("\n1\n")
    with open("/proc/net/unix", encoding="ascii", errors="replace") as f:
        left = ["\0" + line.split()[7][1:] for line in f if "@ampsock-run/" + nonce + "/" in line]
    eq(len(left), 200)
    mine = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in left]
    p.proc.stdin.close()
    taken = 0
    while p.proc.poll() is None:  # each as soon as it can be had, and kept
        for i, name in enumerate(left):
            try:
                mine[i].bind(name)
                taken += 1
            except OSError:
                pass
    print(f"# {taken} of 200 taken")
    p.end()  # nothing has been waited for in vain: "is lost"
    for s in mine:
        s.close()


IMPOSTOR = """
import os, socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
os.setuid(65534)
s.bind(sys.argv[1].replace("@", chr(0)))
s.listen()
print("ready", flush=True)
c, _ = s.accept()
c.recv(9999)
socket.send_fds(c, [struct.pack("<iiI", 0, 0, 0)], [os.open("/dev/null", os.O_RDWR)])
"""


@cleaned
def impostor():
    """another user at the address of an ampsock-run that has gone is not believed"""
    if os.getuid() != 0:
        return "not root: there is no other user to be"
    p = run("sh", "-c", "echo $AMPSOCK_RUN; read x; exec python3 -c 'import socket; print(socket.socket(40))'",
            stdin=subprocess.PIPE)
    nonce = nonce_of(p)
    p.proc.kill()
    p.proc.wait()
    other = Prog("python3", "-c", IMPOSTOR, "@ampsock-run/" + nonce).wait_for("ready")
    p.proc.stdin.close()
    p.wait_err("Network is down")
    other.kill()
    p.forget()
    return None


SILENT = """
import os, socket, sys
os.setuid(65534)
door, s = sys.argv[1].replace("@", chr(0)), []
for _ in range(200):
    s.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    s[-1].connect(door)
left = [c.recv(1) for c in s[:136]]  # they give way at once, not when their time is over
print("turned away", len(left), flush=True)
sys.stdin.read()
"""


@cleaned
def silent_strangers():
    """other users' connections that say nothing are few, and stop nobody"""
    if os.getuid() != 0:
        return "not root: there is no other user to be"
    script = """if 1:
        import os, socket, threading
        def call():
            socket.socket(40).close()
            done.append(1)
        done = []
        socket.socket(40)
        os.setuid(33)
        threads = [threading.Thread(target=call) for _ in range(60)]
        for t in threads: t.start()
        for t in threads: t.join()
        print("done", len(done))
    """
    p = Prog("sh", "-c", 'ulimit -n 512; exec "$@"', "sh", RUN, "sh", "-c",
             f"echo $AMPSOCK_RUN; read x; exec python3 -c '{script}'", stdin=subprocess.PIPE)
    nonce = nonce_of(p)
    start = time.monotonic()
    other = Prog("python3", "-c", SILENT, "@ampsock-run/" + nonce, stdin=subprocess.PIPE).wait_for("turned away 136")
    eq(time.monotonic() - start < 9, True)
    p.proc.stdin.close()
    eq(p.end().lines[-1], "done 60")
    other.kill()
    return None


@cleaned
def few_descriptors():
    """sockets do not take the descriptors that calls need: EMFILE, and all can be closed"""
    script = """if 1:
        import errno, socket, sys, threading
        def fill():
            mine = []
            try:
                while True:
                    mine.append(socket.socket(40, socket.SOCK_STREAM))
            except OSError as e:
                errors.append(errno.errorcode[e.errno])
            made.extend(mine)
        made, errors = [], []
        for _ in range(3):  # of 80 descriptors half are not for sockets
            threads = [threading.Thread(target=fill) for _ in range(8)]
            for t in threads: t.start()
            for t in threads: t.join()
            print(16 <= len(made) <= 40, set(errors), flush=True)
            for s in made: s.close()
            made, errors = [], []
    """
    p = Prog("sh", "-c", 'ulimit -n 80; exec "$@"', "sh", RUN, "python3", "-c", script)
    eq(p.end().lines, ["True {'EMFILE'}"] * 3)


if __name__ == "__main__":
    main()
