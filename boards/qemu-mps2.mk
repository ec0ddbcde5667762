# SPDX-License-Identifier: BSD-3-Clause
qemu-mps2.cross   := arm-none-eabi-
qemu-mps2.flags   := -mcpu=cortex-m3 -mthumb
qemu-mps2.irq     :=
qemu-mps2.early   :=
qemu-mps2.parts   := start-armv7m arch-armv7m uart-cmsdk intc-nvic timer-sp804
qemu-mps2.link    := rpmsg
# The program in the first SSRAM, as if it were flash; data in the second; PSRAM is shared.
qemu-mps2.script  := board-rom.ld
qemu-mps2.load    := 0x00000000
qemu-mps2.rom_len := 0x400000
qemu-mps2.ram     := 0x20000000
qemu-mps2.ram_len := 0x400000
qemu-mps2.shm     := 0x21000000
qemu-mps2.shm_len := 0x1000000
