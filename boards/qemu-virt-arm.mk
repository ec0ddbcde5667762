# SPDX-License-Identifier: BSD-3-Clause
qemu-virt-arm.cross   := arm-none-eabi-
qemu-virt-arm.flags   := -mcpu=cortex-a15 -mthumb -mfloat-abi=soft
qemu-virt-arm.irq     :=
qemu-virt-arm.early   := -mno-unaligned-access
qemu-virt-arm.parts   := start-arm arch-arm uart-pl011 intc-gicv2 timer-arm
qemu-virt-arm.ram     := 0x40000000
qemu-virt-arm.load    := 0x40100000
