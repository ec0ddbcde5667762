# SPDX-License-Identifier: BSD-3-Clause
"""Linux guests without KVM: User-mode Linux kernels that a test boots, steers and kills.

    g = Guest(initramfs.build("vsock", dynamic=["socat"]), devices=[f"{path}:19"])
    print(g.run("uname -r"))                 # output; a failure is an AssertionError
    job = g.go("socat ...")                  # a Job: write(), end(), expect(), wait()
    g.kill(); g.boot()                       # SIGKILL, and the same machine again

The kernel's virtio_uml driver is the vhost-user front-end of each device: SOCKET:ID, with 19 for
vsock and 7 for rpmsg. Commands go over the guest's first serial line, a socketpair, to init.c,
which has the format; the console is collected in `lines`. Nothing here needs root.

One kernel is a process, and for each address space of its programs another one that it traces.
All are in one process group of their own, in the session of the test. SIGKILL to the group and
the options that umlfp.c sets end them; what is orphaned comes to this process, a subreaper, and
boot() and kill() return when waitpid() says that the group is empty.
"""
import atexit
import ctypes
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import initramfs

TIMEOUT = float(os.environ.get("AMPSOCK_TEST_TIMEOUT", "20")) * 3  # for a machine with others on it
KERNEL = "/usr/bin/linux.uml"
SHIM = os.path.join(initramfs.OUT, "libumlfp.so")
FRAME = struct.Struct("<IHH")
RUN, IN, KILL, OUT, ERR, EXIT, UP, GOT = range(1, 9)
PIECE = 1024
WINDOW = 2048  # see init.c
PR_SET_CHILD_SUBREAPER = 36
SHM = "/dev/shm"  # must be a tmpfs that may hold programs
SHM_NEEDED = 512 << 20


def subreaper():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def check_shm():
    """Guest memory is taken as it is touched: a file system that is full kills the guest."""
    st = os.statvfs(SHM)
    if st.f_bavail * st.f_frsize < SHM_NEEDED:
        raise SystemExit(f"{SHM} has less than {SHM_NEEDED >> 20} MiB free, which the guests' memory needs "
                         f"(mount -o remount,size=1G {SHM}; with docker: --shm-size=1g)")


def ethernet():
    """A private cable: a descriptor for each of two guests' net=. Close both when booted."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


class Job:
    """A command in a guest. Output is bytes; status is None while it runs, then as Popen's."""

    def __init__(self, guest, seq, text):
        self.guest, self.seq, self.text = guest, seq, text
        self.out, self.err = bytearray(), bytearray()
        self.open = {OUT, ERR}
        self.status = None
        self.lost = False  # the guest went
        self.cond = threading.Condition()

    def __str__(self):
        return f"`{self.text}`: status {self.status}\n{self.out.decode(errors='replace')}" \
            f"{self.err.decode(errors='replace')}"

    def event(self, kind, data):
        with self.cond:
            if kind == EXIT:
                raw = struct.unpack("<i", data)[0]
                self.status = os.waitstatus_to_exitcode(raw)
            elif not data:
                self.open.discard(kind)
            elif kind == OUT:
                self.out += data
            else:
                self.err += data
            self.cond.notify_all()

    def gone(self):
        with self.cond:
            self.lost = not self.ended()
            self.cond.notify_all()

    def ended(self):
        return self.status is not None and not self.open

    def until(self, done, what, timeout):
        deadline = time.monotonic() + (timeout or TIMEOUT)
        with self.cond:
            while not done():
                left = deadline - time.monotonic()
                if self.lost:
                    raise AssertionError(f"the guest went: {what}: {self}\n{self.guest.tail()}")
                if left <= 0:
                    raise AssertionError(f"too late: {what}: {self}\n{self.guest.tail()}")
                self.cond.wait(left)

    def wait(self, timeout=None):
        """Its status, when it has ended and all of its output is here."""
        self.until(self.ended, "its end", timeout)
        return self.status

    def within(self, seconds):
        """Whether it ends in that time."""
        with self.cond:
            self.cond.wait_for(lambda: self.lost or self.ended(), seconds)
        return self.ended()

    def ok(self, timeout=None):
        """Its output; anything but status 0 is an AssertionError."""
        if self.wait(timeout) != 0:
            raise AssertionError(str(self))
        return self.out.decode(errors="replace")

    def expect(self, pattern, timeout=None):
        """Waits until its output, or what it complains of, matches; returns the match."""
        found = []

        def seen():
            for text in (self.out, self.err):
                m = re.search(pattern, text.decode(errors="replace"), re.MULTILINE)
                if m:
                    found.append(m)
                    return True
            if self.ended():
                raise AssertionError(f"ended without /{pattern}/: {self}")
            return False

        self.until(seen, f"/{pattern}/", timeout)
        return found[0]

    def lines(self, kind):
        """Each line of its output (OUT or ERR) as it comes, until its end or the guest's."""
        text, at = (self.out if kind == OUT else self.err), 0
        while True:
            with self.cond:
                self.cond.wait_for(lambda: self.lost or kind not in self.open or text.find(b"\n", at) >= 0)
                nl = text.find(b"\n", at)
                line = bytes(text[at:nl + 1])
            if nl < 0:
                return
            at = nl + 1
            yield line

    def write(self, data):
        for at in range(0, len(data), PIECE):
            self.guest.tell(self.seq, IN, data[at:at + PIECE])

    def end(self):
        """End of its input."""
        self.guest.tell(self.seq, IN, b"")

    def kill(self, sig=signal.SIGKILL):
        self.guest.tell(self.seq, KILL, bytes([sig]))


class Guest:
    """A machine; the constructor boots it.

    initrd: of initramfs.build(). devices: "SOCKET:ID" each. net: a descriptor of ethernet().
    hostfs: a directory that is /host there. kernel: another kernel than Debian's. args: more of
    its command line. modules: loaded before anything else.
    """
    running = []

    def __init__(self, initrd, devices=(), net=None, hostfs=None, kernel=KERNEL, mem="192M", args=(),
                 modules=("vmw_vsock_virtio_transport",)):
        self.initrd, self.devices, self.net, self.hostfs = initrd, list(devices), net, hostfs
        self.kernel, self.mem, self.args, self.modules = kernel, mem, list(args), modules
        if net is not None:
            self.net = os.dup(net if isinstance(net, int) else net.fileno())
        self.lines = []
        self.proc = None
        self.boot()

    # -- life --

    def command(self, line, console):
        argv = [self.kernel, "mem=" + self.mem, "initrd=" + self.initrd, "rdinit=/init",
                f"con0=null,fd:{console}", "con=null", f"ssl0=fd:{line},fd:{line}", "ssl=null",
                f"uml_dir={self.dir}/", "umid=g", "console=tty0", "quiet", "panic=-1"]
        argv += [f"virtio_uml.device={d}" for d in self.devices]
        if self.net is not None:
            argv.append(f"vec0:transport=fd,fd={self.net},vec=0,gro=0")
        return argv + self.args

    def boot(self):
        """Returns when the guest takes commands."""
        subreaper()
        check_shm()
        # For uml_dir: the names of its sockets must be short. Guest memory is no name's.
        self.dir = tempfile.mkdtemp(prefix="uml-", dir=SHM)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        r, w = os.pipe()
        self.line, self.lock = ours, threading.Condition()
        self.unread = 0
        self.seq, self.jobs, self.up = 0, {}, Job(self, 0, "boot")
        env = dict(os.environ, TMPDIR=SHM, LD_PRELOAD=SHIM)
        fds = [theirs.fileno(), w] + ([self.net] if self.net is not None else [])
        self.proc = subprocess.Popen(self.command(theirs.fileno(), w), stdin=subprocess.DEVNULL, stdout=w,
                                     stderr=w, pass_fds=fds, env=env, process_group=0)
        theirs.close()
        os.close(w)
        Guest.running.append(self)
        self.threads = [threading.Thread(target=self.read, args=(ours,), daemon=True),
                        threading.Thread(target=self.read_console, args=(r,), daemon=True)]
        for t in self.threads:
            t.start()
        try:
            self.up.until(lambda: self.up.status == 0, "boot", None)
            for m in self.modules:
                self.run("modprobe " + m)
            self.run("ip link set lo up")
            if self.hostfs:
                self.run(f"mount -t hostfs none /host -o {self.hostfs}")
        except AssertionError:
            self.kill()
            raise

    def reap(self, timeout):
        """Waits for the end of every process of the group; whether there was one in time."""
        done = threading.Event()

        def wait():
            while True:
                try:
                    pid, status = os.waitpid(-self.proc.pid, 0)
                except ChildProcessError:
                    break
                if pid == self.proc.pid:
                    self.proc.returncode = os.waitstatus_to_exitcode(status)
            done.set()

        threading.Thread(target=wait, daemon=True).start()
        return done.wait(timeout)

    def clean(self):
        for t in self.threads:
            t.join(TIMEOUT)
        self.line.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        if self in Guest.running:
            Guest.running.remove(self)

    def kill(self):
        """SIGKILL, as a machine that loses its power."""
        if self not in Guest.running:
            return
        try:
            os.killpg(self.proc.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if not self.reap(TIMEOUT):
            raise AssertionError(f"processes of {self.proc.pid} do not end")
        self.clean()

    def stop(self):
        """Power off; the console must not have told of a panic, an oops or a warning."""
        if self not in Guest.running:
            return
        try:
            self.line.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        late = not self.reap(TIMEOUT)
        if late:
            os.killpg(self.proc.pid, signal.SIGKILL)
        self.clean()
        if late:
            raise AssertionError("the guest did not power off\n" + self.tail())
        self.check()

    def check(self):
        bad = [x for x in self.lines if re.search(r"Kernel panic|BUG:|Oops|blocked for more than|WARNING: CPU", x)]
        if bad:
            raise AssertionError("the guest's kernel complained:\n" + self.tail(60))

    @classmethod
    def stop_all(cls):
        while cls.running:
            g = cls.running[-1]
            try:
                g.kill()
            except AssertionError as e:
                cls.running.remove(g)
                print(f"# {e}")

    def pause(self):
        """The whole machine stands still, as at a breakpoint."""
        os.kill(self.proc.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.proc.pid, signal.SIGCONT)

    def tail(self, n=25):
        return "\n".join("console: " + x for x in self.lines[-n:])

    # -- channel --

    def read_console(self, fd):
        with open(fd, "rb") as f:
            for raw in f:
                self.lines.append(raw.decode(errors="replace").rstrip())

    def read(self, line):
        buf = b""
        while True:
            try:
                data = line.recv(65536)
            except OSError:
                data = b""
            if not data:
                break
            buf += data
            at = 0
            while len(buf) - at >= FRAME.size:
                seq, kind, length = FRAME.unpack_from(buf, at)
                if len(buf) - at < FRAME.size + length:
                    break
                body = buf[at + FRAME.size:at + FRAME.size + length]
                at += FRAME.size + length
                self.event(seq, kind, body)
            buf = buf[at:]
        with self.lock:
            left, self.jobs = [self.up, *self.jobs.values()], None
            self.lock.notify_all()
        for job in left:
            job.gone()

    def event(self, seq, kind, body):
        if kind == UP:
            self.up.open.clear()
            self.up.event(EXIT, struct.pack("<i", 0))
            return
        if kind == GOT:
            with self.lock:
                self.unread -= struct.unpack("<I", body)[0]
                self.lock.notify_all()
            return
        with self.lock:
            job = self.jobs.get(seq)
        if job:
            job.event(kind, body)
            if job.ended():
                with self.lock:
                    self.jobs.pop(seq, None)

    def tell(self, seq, kind, data):
        frame = FRAME.pack(seq, kind, len(data)) + data
        if len(frame) > WINDOW:
            raise ValueError(f"too long for one frame: {data[:80]!r}...")
        with self.lock:
            if not self.lock.wait_for(lambda: self.jobs is None or self.unread + len(frame) <= WINDOW, TIMEOUT):
                raise AssertionError("the guest does not read its serial line\n" + self.tail())
            if self.jobs is None:
                raise AssertionError("the guest is gone\n" + self.tail())
            self.unread += len(frame)
            try:
                self.line.sendall(frame)
            except OSError:
                pass  # the reader says so

    # -- commands --

    def go(self, text):
        """Starts a shell command."""
        with self.lock:
            self.seq += 1
            job = Job(self, self.seq, text)
            if self.jobs is None:
                raise AssertionError("the guest is gone\n" + self.tail())
            self.jobs[job.seq] = job
        self.tell(job.seq, RUN, text.encode())
        return job

    def run(self, text, data=b"", timeout=None):
        """Output of a command that must succeed; data: its input."""
        job = self.go(text)
        job.write(data)
        job.end()
        return job.ok(timeout)


atexit.register(Guest.stop_all)
