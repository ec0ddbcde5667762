#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""What is left to a worker that a guest has taken over, and to a guest that has not.

All of this with the program as it is shipped: a sanitizer's build has no filter.
"""
import concurrent.futures
import errno
import os
import pwd
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile

os.environ["AMPSOCK_PROXY"] = os.path.join(os.environ.get("BUILD", "build"), "ampsock-proxy")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import offload as off  # noqa: E402
from harness import BUILD, ROOT, TIMEOUT, Proxy, Server, binary, echo, eq, free_port, main, test  # noqa: E402
from vguest import Guest  # noqa: E402

os.environ["AMPSOCK_PROXY"] = os.path.join(BUILD, "ampsock-proxy")
NEEDS_ROOT = "needs root, to have something to give up"
NOBODY = 65534


def build(name, source, *flags, libs=()):
    out = os.path.join(BUILD, "check", name)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    tmp = f"{out}.{os.getpid()}"
    subprocess.run([os.environ.get("CC", "gcc"), "-std=c11", "-D_GNU_SOURCE", "-O1", *flags, "-o", tmp,
                    os.path.join(ROOT, "tests/proxy/lib", source), *libs], check=True)
    os.rename(tmp, out)
    return out


def inside(with_filter):
    src = ["confine.c", "confine_root.c", "log.c"] + (["confine_filter.c"] if with_filter else [])
    return build("inside" if with_filter else "inside-open", "inside.c", f"-I{ROOT}/src", f"-I{BUILD}/gen",
                 *([] if with_filter else ["-DNO_FILTER"]),
                 libs=[os.path.join(ROOT, "src/proxy", s) for s in src] + ["-lbsd"])


def attempt(program, how, what, **kw):
    """'done', an error's name, or a signal's."""
    r = subprocess.run([program, how, what], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, timeout=TIMEOUT, check=False, **kw)
    if r.returncode == 100:
        return errno.errorcode[int(r.stderr.split()[-1])]
    if r.returncode < 0:
        return signal.Signals(-r.returncode).name
    return "done" if r.returncode == 0 else f"exit {r.returncode}: {r.stderr.decode()}"


def attempts(program, how, names, **kw):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(lambda n: attempt(program, how, n, **kw), names)))


def names_of(program):
    r = subprocess.run([program, "free", "?"], stdout=subprocess.PIPE, check=False)
    return r.stdout.decode().split()


# What the test's own surroundings may forbid to root already; all others must work unconfined.
MAY_FAIL_FREE = {"ping", "namespace", "mount", "bpf", "fault", "uring", "keys", "terminal", "other-abi", "audit",
                 "packet", "raw", "openat2", "pidfd"}


@test
def system_calls():
    """from inside of the worker: files, programs, processes, raw sockets, signals, namespaces, code: each kills"""
    program = inside(True)
    names = names_of(program)
    assert len(names) > 30, names
    free = attempts(program, "free", names)
    bad = {n: r for n, r in free.items() if r != "done" and n not in MAY_FAIL_FREE}
    if os.geteuid() == 0:
        eq(bad, {}, "cannot be done without confinement either")
    got = attempts(program, "confined", names)
    eq(got.pop("nothing"), "done")
    eq({n: r for n, r in got.items() if r != "SIGSYS"}, {}, "not killed")


@test
def behind_the_filter():
    """without the filter: no file, no program, no process, no privilege, nobody to signal or to trace"""
    program = inside(False)
    want = {"open": {"ENOENT", "EACCES"}, "open-old": {"ENOENT", "EACCES"}, "openat2": {"ENOENT", "EACCES", "ENOSYS"},
            "create": {"ENOENT", "EACCES", "EROFS"}, "list": {"ENOENT", "EACCES"}, "exec": {"ENOENT", "EACCES"},
            "fork": {"EAGAIN"}, "raw": {"EPERM"}, "packet": {"EPERM", "EAFNOSUPPORT"}, "chroot": {"EPERM"},
            "ptrace": {"EPERM"}, "peek": {"EPERM"}, "root": {"EPERM", "EINVAL"}, "mount": {"EPERM"}}
    users = [{}]
    if os.geteuid() == 0:
        users.append({"user": NOBODY, "group": NOBODY, "extra_groups": []})
    for who in users:
        got = attempts(program, "confined", list(want), **who)
        bad = {n: r for n, r in got.items() if r not in want[n]}
        if not landlock():
            bad.pop("ptrace", None)
            bad.pop("peek", None)
        eq(bad, {}, f"as {who or os.geteuid()}")


def landlock():
    with open("/proc/self/status", encoding="ascii") as f:
        if "Seccomp" not in f.read():
            return False
    libc = __import__("ctypes").CDLL(None, use_errno=True)
    return libc.syscall(444, None, 0, 1) >= 1


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return {k: v.split() for k, v in (line.split(":", 1) for line in f)}


@test
def seen_from_outside():
    """/proc says it: the user, no capability, no_new_privs, the filter, limits, an empty root, no stray descriptor"""
    stray = tempfile.TemporaryFile()
    os.set_inheritable(stray.fileno(), True)
    p = Proxy("allow out tcp 127.0.0.1:1", fds=lambda: [stray.fileno()])
    w = p.worker_pid()
    p.counters()  # it has closed what it was to say READY on
    s, h = status(w), status(p.proc.pid)
    eq((s["NoNewPrivs"], s["Seccomp"], s["Threads"]), (["1"], ["2"], ["1"]))
    eq((h["NoNewPrivs"], h["Seccomp"]), (["1"], ["2"]), "helper")
    for k in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        eq(int(s[k][0], 16), 0, k)
    assert int(s["RssAnon"][0]) <= 2048, s["RssAnon"]
    with open(f"/proc/{w}/limits", encoding="ascii") as f:
        limits = f.read()
    for what in ("Max core file size", "Max processes", "Max file size"):
        assert re.search(what + r"\s+0\s+0\s", limits), limits
    if os.geteuid() == 0:
        user = [x for x in ("ampsock", "nobody") if x in [u.pw_name for u in pwd.getpwall()]][0]
        eq(s["Uid"], [str(pwd.getpwnam(user).pw_uid)] * 4)
        eq((s["Groups"], int(s["CapBnd"][0], 16)), ([], 0))
        kept = int(h["CapEff"][0], 16)
        eq(kept & ~sum(1 << c for c in (0, 1, 3, 5, 6, 7, 8, 10, 18)), 0, "the helper's capabilities")
        eq(int(h["CapBnd"][0], 16) & ~sum(1 << c for c in (0, 1, 3, 5, 6, 7, 8, 10, 18)), 0)
        eq(os.listdir(f"/proc/{w}/root"), [])
        fds = {int(f): os.readlink(f"/proc/{w}/fd/{f}") for f in os.listdir(f"/proc/{w}/fd")}
        eq((fds[0], fds[1]), ("/dev/null", "/dev/null"))
        left = [t for f, t in fds.items() if f > 2 and not re.match(r"(socket|pipe):|anon_inode:\[event(poll|fd)\]", t)]
        eq(left, [], "descriptors")
        eq(sum(t.startswith("socket:") for t in fds.values()), 4, "three to the helper, and the link's")
    p.stop()
    stray.close()


def ended(pid, timeout=TIMEOUT):
    """Waits for the end of a process that is not a child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], timeout)[0])
    finally:
        os.close(fd)


def fails_to_start(args, pattern, code=1, **kw):
    r = subprocess.run([binary(), *args], stderr=subprocess.PIPE, timeout=TIMEOUT, check=False, **kw)
    text = r.stderr.decode()
    assert r.returncode == code and re.search(pattern, text), (r.returncode, text)


@test
def worker_dies():
    """a worker that is killed by its filter has no successor (others: handover.py): the helper says by
    what, removes what was made, exits with 1"""
    p = Proxy("publish unix DIR/pub -> vsock:5000")
    assert os.path.exists(f"{p.dir.name}/pub")
    os.kill(p.worker_pid(), signal.SIGSYS)
    eq(p.proc.wait(TIMEOUT), 1)
    p.log("error: the worker process was killed by SIGSYS: it made a system call")
    eq(p.stop(signal.SIGSYS), [], "left behind")


@test
def helper_dies():
    """a helper that is killed takes the worker with it"""
    p = Proxy()
    g = Guest(p.path)
    p.log("guest attached")
    w = p.worker_pid()
    p.proc.kill()
    assert ended(w), "the worker lives on"
    p.stop(signal.SIGKILL)
    g.close()


@test
def who_it_runs_as():
    """root must name somebody else; nobody else can; without confinement it must be said expressly"""
    sock = tempfile.mkdtemp(prefix="ampsock-test-")
    link = ["--link", f"vhost-user-vsock:{sock}/g,cid=3"]
    fails_to_start(link + ["--user", "no-such-user"], "a user that there is", code=2)
    if os.geteuid() == 0:
        fails_to_start(link + ["--user", "root"], "user `root` is root: expected one without privileges")
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        fails_to_start(link + ["--user", "root"], "cannot become the user `root`: only root can", **who)
    os.rmdir(sock)
    for args, uid in ((["--no-confine"], NOBODY), (["--no-confine", "--user", "root"], 0)):
        if os.geteuid():
            continue
        p = Proxy(args=lambda p, more=tuple(args): ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g", *more])
        s = status(p.worker_pid())
        user = "ampsock" if "ampsock" in [u.pw_name for u in pwd.getpwall()] else "nobody"
        eq(s["Uid"][0], str(pwd.getpwnam(user).pw_uid if uid else 0))
        eq((s["Seccomp"], s["NoNewPrivs"]), (["0"], ["0"]))
        p.stop()


@test
def unprivileged():
    """started by a user without privileges: the same confinement, and everything works"""
    if os.geteuid():
        return NEEDS_ROOT + " (every other test here ran unprivileged)"
    srv = Server(echo)
    # by another user's hands: setpriv runs what it is given as nobody
    with tempfile.TemporaryDirectory(prefix="ampsock-test-") as d:
        os.chmod(d, 0o777)
        r, w = os.pipe()
        proc = subprocess.Popen([binary(), "--ready-fd", str(w), "--link", f"vhost-user-vsock:{d}/g,cid=3",
                                 "--allow", f"out tcp 127.0.0.1:{srv.port}"], pass_fds=[w], stderr=subprocess.PIPE,
                                user=NOBODY, group=NOBODY, extra_groups=[])
        os.close(w)
        try:
            eq(os.read(r, 1), b"\n")
            os.close(r)
            with open(f"/proc/{proc.pid}/task/{proc.pid}/children", encoding="ascii") as f:
                worker = int(f.read())
            s = status(worker)
            eq((s["Uid"][0], s["NoNewPrivs"], s["Seccomp"]), (str(NOBODY), ["1"], ["2"]))
            eq(int(s["CapEff"][0], 16), 0)
            g = Guest(f"{d}/g")
            c = off.Session(g).connect("127.0.0.1", srv.port)
            c.send(b"still carried")
            eq(c.recv_exact(13), b"still carried")
            g.close()
        finally:
            proc.terminate()
            err = proc.communicate(timeout=TIMEOUT)[1].decode()
        eq(proc.returncode, 0, err)
        if "empty root cannot be had" not in err:
            eq(os.listdir(d), [], "left behind")
    srv.close()


@test
def without_namespaces():
    """root in a container that forbids namespaces: chroot; that forbids this, too: told; another user: must be had"""
    if os.geteuid():
        return NEEDS_ROOT
    for caps, want in (("-sys_admin", None), ("-sys_admin,-sys_chroot", "an empty root cannot be had here"),
                       ("-setuid", "cannot become the user")):
        with tempfile.TemporaryDirectory(prefix="ampsock-test-") as d:
            r, w = os.pipe()
            proc = subprocess.Popen(["setpriv", f"--bounding-set={caps}", binary(), "--ready-fd", str(w), "--link",
                                     f"vhost-user-vsock:{d}/g,cid=3"], pass_fds=[w], stderr=subprocess.PIPE)
            os.close(w)
            ready = os.read(r, 1)
            os.close(r)
            if ready:
                with open(f"/proc/{proc.pid}/task/{proc.pid}/children", encoding="ascii") as f:
                    worker = int(f.read())
                eq(status(worker)["Seccomp"], ["2"])
                if not want:
                    eq(os.listdir(f"/proc/{worker}/root"), [])
                    eq(os.readlink(f"/proc/{worker}/ns/mnt"), os.readlink("/proc/self/ns/mnt"), "its own namespace")
                proc.terminate()  # what could not start ends by itself
            err = proc.communicate(timeout=TIMEOUT)[1].decode()
            eq((bool(ready), proc.returncode), (caps != "-setuid", int(caps == "-setuid")), err)
            assert (want or "waiting for a VMM") in err, err
            assert want or "cannot be had" not in err, err


@test
def low_port():
    """a port below 1024 is published: the helper binds it; one that no rule names it does not"""
    if os.geteuid():
        return NEEDS_ROOT
    for port in range(1000, 700, -1):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                break
            except OSError:
                continue
    p = Proxy(f"publish tcp 127.0.0.1:{port} -> vsock:5000", f"allow in tcp 127.0.0.1:{port - 1}")
    g = Guest(p.path)
    g.listen(5000)
    k = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    k.sendall(b"low")
    eq(g.accept(5000).recv_exact(3), b"low")
    s = off.Session(g)
    try:
        s.bind("127.0.0.1", port - 2)
        raise AssertionError("bound")
    except off.Refused as e:
        eq(e.status, "EACCES")
    _, name = s.bind("127.0.0.1", port - 1)
    eq(name, ("127.0.0.1", port - 1))
    k.close()
    g.close()
    p.stop()


def refused(fn, *args, **kw):
    try:
        fn(*args, **kw)
    except off.Refused as e:
        eq(e.status, "EACCES")
        return
    raise AssertionError(f"{args}: not refused")


def v6_of(v4):
    """Every way to write an IPv4 address as one of IPv6."""
    a, b, c, d = map(int, v4.split("."))
    return ["::ffff:" + v4, "64:ff9b::" + v4, f"2002:{a:02x}{b:02x}:{c:02x}{d:02x}::", "::" + v4,
            f"64:ff9b::{a:02x}{b:02x}:{c:02x}{d:02x}", f"2002:{a:02x}{b:02x}:{c:02x}{d:02x}:1::1"]


def own_addrs():
    """Of the host's interfaces."""
    r = subprocess.run(["ip", "-o", "addr"], stdout=subprocess.PIPE, check=False)
    return re.findall(r"inet6? ([0-9a-f.:]+)", r.stdout.decode())


@test
def disguises():
    """a guest that may reach `any` reaches nothing of the host's, by any name of it, by TCP or UDP"""
    srv = Server(echo, addr="0.0.0.0")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", 0))
    p = Proxy("allow out any any:any")
    g = Guest(p.path)
    s = off.Session(g)
    hosts = ["127.0.0.1", "127.255.255.254", "0.0.0.0", "169.254.169.254"] + [a for a in own_addrs() if "." in a]
    hosts6 = ["::1", "::", "fe80::1"] + [a for a in own_addrs() if ":" in a]
    for h in dict.fromkeys(hosts):
        refused(s.connect, h, srv.port)
        refused(s.udp, peer=(h, udp.getsockname()[1]))
        if h == "0.0.0.0":
            hosts6 += v6_of(h)[:3]
            continue
        hosts6 += v6_of(h)
    u4, u6 = s.udp(), s.udp(family=off.INET6)
    for h in hosts6:
        refused(s.connect, h, srv.port, family=off.INET6)
    # the answer to a datagram names the address as the guest wrote it
    for u, addrs in ((u4, hosts), (u6, hosts6)):
        for h in dict.fromkeys(addrs):
            u.sendto(b"psst", (h, udp.getsockname()[1]))
            kind, _, arg, _, _ = u.frame()
            eq((kind, off.name(arg)), (1, "EACCES"), h)
    udp.setblocking(False)
    try:
        raise AssertionError(udp.recvfrom(100))
    except BlockingIOError:
        pass
    eq(srv.threads, [], "connections")
    g.close()
    p.stop()
    srv.close()
    udp.close()


@test
def bound_and_by_name():
    """a bound socket that connects by name: behind the address that refuses it is still where it was bound"""
    lib = build("names.so", "names.c", "-shared", "-fPIC", libs=["-ldl"])
    seen = []
    srv = Server(lambda s: (seen.append(s.getpeername()), echo(s)))
    with tempfile.NamedTemporaryFile("w", prefix="ampsock-names-") as f:
        f.write("two.example 127.0.0.2\ntwo.example 127.0.0.1\n")
        f.flush()
        os.chmod(f.name, 0o644)
        p = Proxy(f"allow out any two.example:{srv.port}", "allow in tcp any:any", f"allow out tcp 127.0.0.0/8:{srv.port}",
                  env={"LD_PRELOAD": lib, "PLAYED_NAMES": f.name})
        g = Guest(p.path)
        s = off.Session(g)
        for port in (free_port(), 0):
            bound, at = s.bind("0.0.0.0", port, opts_set=1 << off.OPT["SO_KEEPALIVE"], opts=1 << off.OPT["SO_KEEPALIVE"])
            s.setopt(bound, "IP_TTL", 33)
            c = s.connect(None, srv.port, host_name=b"two.example", bound=bound)
            c.send(b"hello")
            eq(c.recv_exact(5), b"hello")
            eq(c.name, ("127.0.0.1", at[1]))
            eq(c.peername, ("127.0.0.1", srv.port))
            eq(seen.pop(), c.name)
            eq([s.getopt(c.id, o) for o in ("SO_KEEPALIVE", "IP_TTL", "TCP_NODELAY")], [1, 33, 0])
            c.close()
        g.close()
        p.stop()
    srv.close()


@test
def no_answer():
    """a name server that does not answer is told and counted; that there is no such name is not"""
    lib = build("names.so", "names.c", "-shared", "-fPIC", libs=["-ldl"])
    with tempfile.NamedTemporaryFile("w", prefix="ampsock-names-") as f:
        f.write("silent.example again\n")
        f.flush()
        os.chmod(f.name, 0o644)
        p = Proxy("allow out tcp *.example:80", env={"LD_PRELOAD": lib, "PLAYED_NAMES": f.name})
        g = Guest(p.path)
        s = off.Session(g)
        for name, status, log in ((b"none.example", "EAI_NONAME", None),
                                  (b"silent.example", "EAI_AGAIN",
                                   "warning: link g: name silent.example: no answer from this host's resolver: "
                                   ".*event=unresolved link=g name=silent.example")):
            try:
                s.resolve(name, 80, family=off.INET, type_=off.STREAM)
                raise AssertionError(f"{name} has an address")
            except off.Refused as e:
                eq(e.status, status)
            if log:
                p.log(log)
        eq(p.counters()["unresolved"], 1)
        g.close()
        p.stop()


@test
def another_address_the_second_time():
    """a name that means something else the second time: what it means then is not had, what was given is"""
    lib = build("names.so", "names.c", "-shared", "-fPIC", libs=["-ldl"])
    srv = Server(echo)
    with tempfile.NamedTemporaryFile("w", prefix="ampsock-names-") as f:
        def play(addr):
            f.seek(0)
            f.truncate()
            f.write(f"rebind.example {addr}\n")
            f.flush()
            os.chmod(f.name, 0o644)
        play("198.51.100.7")
        p = Proxy(f"allow out any rebind.example:{srv.port}", env={"LD_PRELOAD": lib, "PLAYED_NAMES": f.name})
        g = Guest(p.path)
        s = off.Session(g)
        eq(s.resolve(b"rebind.example", srv.port, family=off.INET, type_=off.STREAM)[0], [("198.51.100.7", srv.port)])
        for addr in ["127.0.0.1", "0.0.0.0", "169.254.169.254"] + own_addrs()[:3]:
            if ":" in addr:
                continue
            play(addr)
            try:
                s.resolve(b"rebind.example", srv.port, family=off.INET, type_=off.STREAM)
            except off.Refused:
                pass
            p.log(f"name rebind.example stands for {re.escape(addr)}, which is .* but by a rule with the address")
            refused(s.connect, addr, srv.port)
            try:
                s.connect(None, srv.port, host_name=b"rebind.example")
                raise AssertionError(f"connected to {addr} by name")
            except off.Refused as e:
                assert e.status in ("EACCES", "EHOSTUNREACH"), e.status
        try:  # connect() of a datagram socket sends nothing; there may be no route, but that is another error
            s.udp(peer=("198.51.100.7", srv.port)).close()
        except off.Refused as e:
            assert e.status != "EACCES", "what the guest was given is taken back"
        refused(s.udp, peer=("198.51.100.8", srv.port))
        eq(srv.threads, [], "connections")
        g.close()
        p.stop()
    srv.close()


main()
