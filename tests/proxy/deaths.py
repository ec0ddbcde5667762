#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""What a helper does when ends, signals and starts come in an order that nobody planned."""
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from harness import TIMEOUT, Proxy, Server, binary, echo, eq, fd_limits, free_port, main, test, worker_pid  # noqa: E402
from procs import children, listening, pending, plain, preload, until, where_it_prints  # noqa: E402
from store import LAUNCH  # noqa: E402
from vguest import Guest  # noqa: E402
from vrig import conf_of, configured, works, write_conf  # noqa: E402


def another_worker(pid, old):
    # one that tries a new program is a child, too, while the old one lives
    now = []

    def has():
        now[:] = children(pid)
        return now and old not in now
    until(has, "no other worker")
    return now[0]


def give(path, text):
    """The next reader of the FIFO has it all. Returns when there is one."""
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


@test
def stopped_while_upgrading():
    """SIGTERM between the upgrade's check and the worker's end stops the proxy, and does not get lost"""
    with tempfile.TemporaryDirectory(prefix="ampsock-deaths-") as d:
        conf = d + "/proxy.conf"
        os.mkfifo(conf)
        text = f"[link g]\ntype = vhost-user-vsock\npath = {d}/g\ncid = 3\n"
        with subprocess.Popen([binary(), "--config", conf], stderr=subprocess.PIPE) as proc:
            try:
                give(conf, text)
                until(lambda: listening(d + "/g"), "it does not start")
                w = worker_pid(proc.pid)
                os.kill(w, signal.SIGSTOP)
                proc.send_signal(signal.SIGUSR2)
                give(conf, text)  # to the process that checks it
                until(lambda: children(proc.pid) == [w], "the check does not end")
                proc.send_signal(signal.SIGTERM)
                # whoever has it pending has not been told: the helper sleeps when it has told the worker
                until(lambda: not pending(proc.pid, signal.SIGTERM), "SIGTERM is still pending")
                os.kill(w, signal.SIGCONT)
                eq(proc.wait(TIMEOUT), 0, "exit status")
            finally:
                proc.kill()
            eq(os.path.exists(d + "/g"), False, "the socket's file is there")


@test
def stopped_unheard():
    """SIGTERM when the worker has more to read than fits: it is told when there is room"""
    p = Proxy()
    w = p.worker_pid()
    os.kill(w, signal.SIGSTOP)
    told = 0
    while not any("does not listen" in line for line in p.lines):
        p.proc.send_signal(signal.SIGUSR1)
        until(lambda: not pending(p.proc.pid, signal.SIGUSR1), "SIGUSR1 is still pending")
        told += 1
        eq(told < 50000, True, "the worker's queue has no end")
    p.proc.send_signal(signal.SIGTERM)
    until(lambda: not pending(p.proc.pid, signal.SIGTERM), "SIGTERM is still pending")
    p.log("SIGTERM: the worker process does not listen")
    os.kill(w, signal.SIGCONT)
    eq(p.proc.wait(TIMEOUT), 0, "exit status")
    eq(p.stop(), [], "files that are left")


@test
def stopped_when_it_had_failed():
    """SIGTERM between the failure of a start and the helper's end: it has failed all the same"""
    with tempfile.TemporaryDirectory(prefix="ampsock-deaths-") as d, plain():
        r = subprocess.run([binary(), "--link", f"vhost-user-vsock:{d}/none/g,cid=3"], capture_output=True, text=True,
                           timeout=TIMEOUT, check=False, env={**os.environ, "LD_PRELOAD": preload("stops")})
    eq(("does not exist" in r.stderr, r.returncode), (True, 1), r.stderr)


@test
def ended_by_itself():
    """a worker that ends without having been told to: whatever its status, that is no good end"""
    with where_it_prints("""if (getenv("AMPSOCK_TEST_END")) _exit(atoi(getenv("AMPSOCK_TEST_END")));""") as env:
        for code in (0, 1, 3, 77):
            p = Proxy(env={**env, "AMPSOCK_TEST_END": str(code)})
            p.proc.send_signal(signal.SIGUSR1)
            eq(p.proc.wait(TIMEOUT), 1, f"exit status of the helper for {code}")
            if code != 1:
                p.log(f"the worker process ended with status {code}, and nobody told it to")
            eq(p.stop(signal.SIGUSR1), [], "files that are left")


@test
def given_port():
    """a port of the service manager's: the worker is killed, then the program is upgraded; the next
    program has it still, although the manager's own descriptor would not let it bind"""
    srv = Server(echo)
    t = socket.create_server(("127.0.0.1", 0))
    port = t.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="ampsock-deaths-") as d:
        argv = [sys.executable, "-c", LAUNCH, str(t.fileno()), "web", binary(), "--link",
                f"vhost-user-vsock:{d}/g,cid=3", "--expose", f"vsock:6000 -> tcp 127.0.0.1:{srv.port}",
                "--publish", f"tcp 127.0.0.1:{port} -> vsock:5000"]
        with open(d + "/log", "wb") as log, \
                subprocess.Popen(argv, stderr=log, pass_fds=[t.fileno()]) as proc:
            try:
                until(lambda: listening(d + "/g"), "it does not start")
                g = Guest(d + "/g")
                g.listen(5000)
                works(g)
                for what in (signal.SIGKILL, signal.SIGUSR2):
                    w = worker_pid(proc.pid)
                    os.kill(w if what == signal.SIGKILL else proc.pid, what)
                    until(lambda w=w: w not in children(proc.pid) and children(proc.pid), "no other worker")
                    works(g)
                    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as k:
                        c = g.accept(5000)
                        k.sendall(b"x")
                        eq(c.recv(), b"x")
                g.close()
                proc.terminate()
                eq(proc.wait(TIMEOUT), 0, "exit status")
            finally:
                proc.kill()
                with open(d + "/log", encoding="utf-8", errors="replace") as f:
                    print("".join("# " + line for line in f), end="")
    t.close()
    srv.close()


@test
def predecessors_ports():
    """who was killed has its ports for a moment longer: the next one waits that long, and no longer"""
    tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    with tempfile.TemporaryDirectory(prefix="ampsock-deaths-") as d:
        argv = [binary(), "--link", f"vhost-user-vsock:{d}/g,cid=3"]
        for kind, s in (("tcp", tcp), ("udp", udp)):
            argv += ["--publish", f"{kind} 127.0.0.1:{s.getsockname()[1]} -> vsock:5000"]
        ready, w = os.pipe()
        with subprocess.Popen(argv + ["--ready-fd", str(w)], pass_fds=[w], stderr=subprocess.PIPE, text=True) as proc:
            os.close(w)
            try:
                while "a port is still in use: waiting" not in (line := proc.stderr.readline()):
                    eq(bool(line), True, "it does not wait")
                tcp.close()
                udp.close()
                eq(os.read(ready, 1), b"\n", "ready")
            finally:
                os.close(ready)
                proc.terminate()
                proc.communicate(timeout=TIMEOUT)
            eq(proc.returncode, 0, "exit status")
        with socket.create_server(("127.0.0.1", 0)) as s:
            argv[-1] = f"tcp 127.0.0.1:{s.getsockname()[1]} -> vsock:5000"
            r = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        eq(r.returncode, 1, "exit status where somebody has the port")
        eq("already in use by another process" in r.stderr, True, r.stderr)


@test
def no_standard_descriptors():
    """started with standard input and output closed: as with any"""
    srv = Server(echo)
    with tempfile.TemporaryDirectory(prefix="ampsock-deaths-") as d:
        argv = ["sh", "-c", 'exec "$@" <&- >&-', "sh", binary(), "--link", f"vhost-user-vsock:{d}/g,cid=3",
                "--expose", f"vsock:6000 -> tcp 127.0.0.1:{srv.port}"]
        with subprocess.Popen(argv, stderr=subprocess.PIPE) as proc:
            try:
                until(lambda: listening(d + "/g") or proc.poll() is not None, "it does not start")
                eq(proc.poll(), None, "exit status")
                g = Guest(d + "/g")
                works(g)
                g.close()
                proc.terminate()
                eq(proc.wait(TIMEOUT), 0, "exit status")
            finally:
                proc.kill()
            eq(os.path.exists(d + "/g"), False, "the socket's file is there")
    srv.close()


@test
def file_is_gone():
    """the worker is killed when its socket's file was removed: the next one makes a new one"""
    p = Proxy()
    Guest(p.path).close()
    p.log("guest detached")  # else the next one goes on with it
    os.unlink(p.path)
    start = len(p.lines)
    os.kill(p.worker_pid(), signal.SIGKILL)
    p.log("waiting for a VMM", start=start)  # the file is there before the listener
    Guest(p.path).close()
    eq(p.stop(), [], "files that are left")


@test
def file_of_no_rule():
    """a rule that the next program does not have leaves no socket file"""
    p = configured("publish = unix DIR/pub -> vsock:5000")
    eq(sorted(os.listdir(p.dir.name)), ["g.sock", "proxy.conf", "pub"])
    write_conf(p)
    w = p.worker_pid()
    p.proc.send_signal(signal.SIGUSR2)
    p.log("upgrade: executing")
    until(lambda: not os.path.exists(p.dir.name + "/pub"), "the file is there")
    another_worker(p.proc.pid, w)
    Guest(p.path).close()
    os.unlink(conf_of(p))
    eq(p.stop(), [], "files that are left")


def over(p):
    """It has ended by itself."""
    Proxy.running.remove(p)
    p.thread.join(TIMEOUT)
    p.proc.stderr.close()
    p.dir.cleanup()


@test
def file_is_anothers():
    """the worker is killed when another process listens at its path: that stays, and the log says so"""
    p = Proxy()
    os.unlink(p.path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(p.path)
        other.listen(1)
        os.kill(p.worker_pid(), signal.SIGKILL)
        eq(p.proc.wait(TIMEOUT), 1, "exit status")
        p.log("g.sock is already in use by another process")
        eq(stat.S_ISSOCK(os.stat(p.path).st_mode), True, "the other's file")
    over(p)


@test
def upgrade_beside_another():
    """another process listens at the path when the program is upgraded: the new one does not take that for its own"""
    p = Proxy()
    os.unlink(p.path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(p.path)
        other.listen(1)
        p.proc.send_signal(signal.SIGUSR2)
        eq(p.proc.wait(TIMEOUT), 1, "exit status")
        p.log("g.sock was removed or replaced")
        p.log("g.sock is already in use by another process")
        eq(stat.S_ISSOCK(os.stat(p.path).st_mode), True, "the other's file")
    over(p)


@test
def anothers_file_of_no_rule():
    """a rule that the next program does not have, and another's socket in its place: that stays"""
    p = configured("publish = unix DIR/pub -> vsock:5000")
    pub = p.dir.name + "/pub"
    os.unlink(pub)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(pub)  # and does not listen yet
        write_conf(p)
        w = p.worker_pid()
        p.proc.send_signal(signal.SIGUSR2)
        another_worker(p.proc.pid, w)
        Guest(p.path).close()  # all that was not taken has gone by now
        eq(os.path.exists(pub), True, "the other's file")
    os.unlink(pub)
    os.unlink(conf_of(p))
    eq(p.stop(), [], "files that are left")


@test
def filters():
    """the filters of system calls do not grow with upgrades to a program that has the same"""
    def laid(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            said = dict(line.split(":", 1) for line in f)
        return said["Seccomp"].strip(), int(said.get("Seccomp_filters", 0))
    # the sanitizers' program has none
    with plain():
        p = Proxy()
    helper, worker = laid(p.proc.pid), None
    eq(helper[0], "2", "the helper's filter")
    for _ in range(3):
        w = p.worker_pid()
        p.proc.send_signal(signal.SIGUSR2)
        w = another_worker(p.proc.pid, w)
        Guest(p.path).close()
        eq(laid(p.proc.pid), helper, "filters of the helper")
        worker = worker or laid(w)  # the first one was forked before the helper had its own
        eq(laid(w), worker, "filters of the worker")
    eq(p.stop(), [], "files that are left")
    return None if helper[1] else "this kernel does not count filters (Linux 5.9 does)"


@test
def many_to_keep():
    """the helper, which keeps what many guests have, takes all descriptors that it may have"""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard[1]))
    try:
        p = Proxy()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, hard)
    eq(fd_limits(p.proc.pid), (hard[1], hard[1]), "the helper's limit")
    eq(fd_limits(p.worker_pid()), (hard[1], hard[1]), "the worker's")
    p.stop()


@test
def reload_between_workers():
    """SIGHUP while there is no worker is for the next one"""
    p = configured()
    port = free_port()
    write_conf(p, f"publish = tcp 127.0.0.1:{port} -> vsock:5000")
    w = p.worker_pid()
    for _ in range(3):  # each waits longer before the next begins
        os.kill(w, signal.SIGKILL)
        w = another_worker(p.proc.pid, w)
    os.kill(w, signal.SIGKILL)
    until(lambda: not children(p.proc.pid), "it does not end")
    p.proc.send_signal(signal.SIGHUP)
    another_worker(p.proc.pid, w)

    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    until(listens, "the new rule is not served")
    os.unlink(conf_of(p))
    eq(p.stop(), [], "files that are left")


if __name__ == "__main__":
    main()
