# SPDX-License-Identifier: BSD-3-Clause
qemu-virt-riscv64.cross   := riscv64-unknown-elf-
# The old ISA numbering has the CSR instructions in it, and picolibc's multilib its name.
qemu-virt-riscv64.flags   := -march=rv64imac -misa-spec=2.2 -mabi=lp64 -mcmodel=medany
qemu-virt-riscv64.irq     :=
qemu-virt-riscv64.early   :=
qemu-virt-riscv64.parts   := start-riscv arch-riscv uart-ns16550 intc-plic timer-clint memcpy-riscv
qemu-virt-riscv64.ram     := 0x80000000
qemu-virt-riscv64.load    := 0x80000000
