# SPDX-License-Identifier: BSD-3-Clause
"""The root of a Linux guest: busybox, the kernel's modules, init.c, and what a test adds.

build(NAME, ...) makes BUILD/linux/NAME.cpio anew when one of its files is younger. No root is
needed: the owner is written by cpio, and devices are made by the guest.
"""
import os
import re
import shutil
import subprocess
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
OUT = os.path.join(BUILD, "linux")
MODULES = "/usr/lib/uml/modules"
# Who the proxy's worker becomes.
USERS = {"etc/passwd": "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
         "etc/group": "root:x:0:\nnogroup:x:65534:\n"}
# With what they depend on (modules.dep).
VSOCK = ("vmw_vsock_virtio_transport", "vsock_loopback", "vsock_diag")


def libraries(program):
    """What the loader maps for a program, with the loader."""
    text = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return [m for m in re.findall(r"(/\S+)", text) if os.path.exists(m)]


def module_files(release, names):
    """Files below MODULES/release of the modules and of those they need, in no order."""
    needs = {}
    with open(os.path.join(MODULES, release, "modules.dep"), encoding="ascii") as f:
        for line in f:
            path, _, deps = line.partition(":")
            name = os.path.basename(path).split(".")[0].replace("-", "_")
            needs[name] = [path] + deps.split()
    missing = [n for n in names if n not in needs]
    if missing:
        raise SystemExit(f"{MODULES}/{release} has no module {', '.join(missing)}")
    return sorted({path for n in names for path in needs[n]})


def contents(programs, dynamic, modules, files):
    """{path in the guest: file of the host}"""
    busybox = "/bin/busybox"
    found = {"init": os.path.join(OUT, "init"), "bin/busybox": busybox}
    for p in programs:
        found["bin/" + os.path.basename(p)] = p
    for p in dynamic:
        path = shutil.which(p)
        if not path:
            raise SystemExit(f"{p} is not installed: make deps")
        found["usr/bin/" + os.path.basename(path)] = path
        found.update({lib.lstrip("/"): lib for lib in libraries(path)})
    if modules:
        for release in os.listdir(MODULES):
            for path in module_files(release, modules):
                found[f"lib/modules/{release}/{path}"] = os.path.join(MODULES, release, path)
            for kept in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
                found[f"lib/modules/{release}/{kept}"] = os.path.join(MODULES, release, kept)
    found.update(files)
    return found


def newer(out, found):
    """Whether out has exactly these files and is younger than each."""
    try:
        made = os.path.getmtime(out)
        with open(out + ".list", encoding="utf-8") as f:
            if f.read() != repr(sorted(found.items())):
                return False
    except OSError:
        return False
    return all(os.path.getmtime(src) <= made for src in list(found.values()) + [__file__])


def pack(tree, out):
    """newc archive of a tree; whole or not there, whoever else is making it."""
    names = []
    for at, dirs, files in os.walk(tree):
        names += [os.path.relpath(os.path.join(at, n), tree) for n in dirs + files]
    temp = f"{out}.{os.getpid()}"
    with open(temp, "wb") as f:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=tree, check=True,
                       input="\n".join(sorted(names)).encode(), stdout=f)
    os.rename(temp, out)


def build(name, programs=(), dynamic=(), modules=VSOCK, files=None):
    """Returns the path of the archive.

    programs: static ones, to /bin. dynamic: names, to /usr/bin with their libraries. modules: of
    Debian's kernel, none for a kernel that has all built in. files: {path in the guest: file}.
    """
    out = os.path.join(OUT, name + ".cpio")
    found = contents(programs, dynamic, modules, files or {})
    if newer(out, found):
        return out
    os.makedirs(OUT, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT) as tree:
        for path, src in found.items():
            dst = os.path.join(tree, path)
            os.makedirs(os.path.dirname(dst), exist_ok=True)
            shutil.copy(src, dst)  # what a link leads to
        applets = subprocess.run([found["bin/busybox"], "--list"], check=True, capture_output=True,
                                 text=True).stdout.split()
        os.makedirs(os.path.join(tree, "sbin"), exist_ok=True)
        for a in applets:
            if a != "busybox" and not os.path.lexists(os.path.join(tree, "bin", a)):
                os.symlink("busybox", os.path.join(tree, "bin", a))
        # The kernel calls it by this name.
        os.symlink("../bin/busybox", os.path.join(tree, "sbin", "modprobe"))
        for d in ("dev", "etc", "proc", "sys", "tmp", "host"):
            os.makedirs(os.path.join(tree, d), exist_ok=True)
        for path, text in USERS.items():
            with open(os.path.join(tree, path), "w", encoding="ascii") as f:
                f.write(text)
        if modules:
            for release in os.listdir(os.path.join(tree, "lib", "modules")):
                subprocess.run(["/sbin/depmod", "-b", tree, release], check=True)
        pack(tree, out)
    with open(out + ".list", "w", encoding="utf-8") as f:
        f.write(repr(sorted(found.items())))
    return out
