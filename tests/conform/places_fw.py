# SPDX-License-Identifier: BSD-3-Clause
"""Places with a role in firmware: an emulated board, whose console is the channel."""
import os
import select

from places import ALLOW, BUILD, INET, PLACES, ROOT, RPMSG, VSOCK, Role, program

EOT = "\4"
VIRT, MPS2 = "qemu-virt-aarch64", "qemu-mps2"
DA = 0x21000000  # of the memory that qemu-mps2 shares
PATIENCE_S = 60


class Firmware(Role):
    """A board. Its end is asked for by a character: there is no end of file on a serial line."""

    def __init__(self, scratch, board, role, socket, cid=(1, 1)):
        elf = os.path.join(BUILD, "fw", board + "-conform", "conform.elf")
        super().__init__(scratch, [os.path.join(ROOT, "boards", "run-qemu.sh"), board, elf, "-s", socket, "--",
                                   role, scratch.short, str(cid[0]), str(cid[1]), "0", "0"])

    def end(self, kill=False):
        if not kill:
            self.say(EOT)
        return super().end(kill)


def other(role):
    return "b" if role == "a" else "a"


def vsock(guest):
    """guest: the role on the board."""
    def place(s):
        path = s.path("vsock.sock")
        cid = (3, 2) if guest == "a" else (2, 3)
        host = program(s, "ours", other(guest), cid, env={"AMPSOCK_LINK": f"vsock-device:{path},3"})
        # Its first word says that the socket is there, which QEMU does not wait for.
        select.select([host.proc.stdout], [], [], PATIENCE_S)
        return {other(guest): host, guest: Firmware(s, VIRT, guest, path, cid)}
    place.__doc__ = f"{guest} is firmware on {VIRT} with a vsock device, the other its host process"
    return place


def inet(board, ours):
    """ours: the role on the board, through the proxy; the other is Linux's own."""
    def place(s):
        link, path = None, None
        if board == MPS2:
            path = s.path("mps2")
            link = f"rpmsg-shm:{path}.ram,da={DA:#x},table={DA:#x},bell=unix:{path},name=g"
        p = s.proxy(*ALLOW, links=[link or "g"])
        return {other(ours): program(s, "linux", other(ours)),
                ours: Firmware(s, board, ours, path or os.path.join(p.dir.name, "g.sock"))}
    place.__doc__ = f"{ours} is firmware on {board} behind the proxy, the other on Linux's own"
    return place


def rpmsg(remote, both):
    """remote: the role on the board; both: the other is on a board as well, else a process."""
    def place(s):
        bell, proc = s.path("mps2"), s.path("other")
        second = f"{proc}.ram,da={DA:#x},table={DA:#x},bell=unix:{proc}" if both else f"{proc}.shm,bell=unix:{proc}.bell"
        s.proxy(links=[f"rpmsg-shm:{bell}.ram,da={DA:#x},table={DA:#x},bell=unix:{bell},name=one",
                       f"rpmsg-shm:{second},name=two"], more=["--join", "one,two"])
        up = {remote: Firmware(s, MPS2, remote, bell)}
        if both:
            up[other(remote)] = Firmware(s, MPS2, other(remote), proc)
        else:
            up[other(remote)] = program(s, "ours", other(remote),
                                        env={"AMPSOCK_LINK": f"rpmsg-remote:{proc}.shm,{proc}.bell"})
        return up
    what = "on another such board" if both else "in a process that is a remote too"
    place.__doc__ = f"{remote} is firmware on {MPS2}, the other {what}, joined by the proxy"
    return place


PLACES.update({
    "aarch64+host": (vsock("a"), VSOCK),
    "host+aarch64": (vsock("b"), VSOCK),
    "aarch64+linux": (inet(VIRT, "a"), INET),
    "linux+aarch64": (inet(VIRT, "b"), INET[:2]),
    "mps2+linux": (inet(MPS2, "a"), INET[:2]),
    "mps2+remote": (rpmsg("a", False), RPMSG),
    "remote+mps2": (rpmsg("b", False), RPMSG),
    "mps2+mps2": (rpmsg("a", True), RPMSG),
})
