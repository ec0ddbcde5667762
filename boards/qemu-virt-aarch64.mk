# SPDX-License-Identifier: BSD-3-Clause
qemu-virt-aarch64.cross   := aarch64-linux-gnu-
qemu-virt-aarch64.flags   := -mcpu=cortex-a53 -mno-outline-atomics
# Interrupt handlers save no SIMD registers: nothing that they call may use them.
qemu-virt-aarch64.irq     := -mgeneral-regs-only
# Start-up runs before the MMU, when unaligned accesses fault.
qemu-virt-aarch64.early   := -mstrict-align
qemu-virt-aarch64.parts   := start-aarch64 arch-aarch64 uart-pl011 intc-gicv2 timer-arm
# QEMU leaves its device tree at the start of RAM.
qemu-virt-aarch64.ram     := 0x40000000
qemu-virt-aarch64.load    := 0x40100000
