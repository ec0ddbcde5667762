# SPDX-License-Identifier: BSD-3-Clause
qemu-virt-riscv32.cross   := riscv64-unknown-elf-
# The old ISA numbering has the CSR instructions in it, and picolibc's multilib its name.
qemu-virt-riscv32.flags   := -march=rv32imac -misa-spec=2.2 -mabi=ilp32 -mcmodel=medany
qemu-virt-riscv32.irq     :=
qemu-virt-riscv32.early   :=
qemu-virt-riscv32.parts   := start-riscv arch-riscv uart-ns16550 intc-plic timer-clint memcpy-riscv
qemu-virt-riscv32.ram     := 0x80000000
qemu-virt-riscv32.load    := 0x80000000
