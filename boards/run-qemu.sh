#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# run-qemu.sh BOARD FIRMWARE.elf [-s SOCKET] [-q 'QEMU ARGUMENTS'] [-n] [ARGUMENT...]
#
# Becomes QEMU running the firmware with its console on stdin and stdout. Exits with the
# status of the firmware's main(). -s: virt boards: a virtio-vsock device that is served at that
# socket; qemu-mps2: QEMU serves the mailbox there, and the memory shared is SOCKET.ram.
# -n: print the command line instead. No ARGUMENT may contain a blank or a comma.
set -eu

usage() {
	sed -n '3,8s/^# //p' "$0" >&2
	exit 2
}

# board               qemu                 machine                 cpu         memory
table='
qemu-virt-aarch64     qemu-system-aarch64  virt,gic-version=2      cortex-a53  64M
qemu-virt-arm         qemu-system-arm      virt,gic-version=2      cortex-a15  64M
qemu-virt-riscv64     qemu-system-riscv64  virt                    rv64        64M
qemu-virt-riscv32     qemu-system-riscv32  virt                    rv32        64M
qemu-mps2             qemu-system-arm      mps2-an385              cortex-m3   16M
'

[ $# -ge 2 ] || usage
board=$1
firmware=$2
shift 2
socket=
extra=
show=
while getopts s:q:n opt; do
	case $opt in
	s) socket=$OPTARG ;;
	q) extra=$OPTARG ;;
	n) show="echo" ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))

row=$(printf '%s' "$table" | grep "^$board ") || {
	echo "run-qemu.sh: no board $board; there are:$(printf '%s' "$table" | sed 's/ .*//' | tr '\n' ' ')" >&2
	exit 2
}
# shellcheck disable=SC2086
set -- $row -- "$@"
qemu=$2 machine=$3 cpu=$4 memory=$5
shift 6
semihosting=enable=on,target=native,arg=$(basename "$firmware" .elf)
for arg in "$@"; do
	semihosting=$semihosting,arg=$arg
done

# Memory that another process can map, by descriptor or, for qemu-mps2's PSRAM, by name.
backend='memory-backend-memfd'
case $board,$socket in
qemu-mps2,?*) backend="memory-backend-file,mem-path=$socket.ram" ;;
esac
set -- "$qemu" -M "$machine,memory-backend=m" -cpu "$cpu" \
	-object "$backend,id=m,size=$memory,share=on" \
	-nographic -serial mon:stdio \
	-semihosting-config "$semihosting" -kernel "$firmware"
case $board in
*riscv*) set -- "$@" -bios none ;;
esac
# The virt boards' device is virtio-mmio, which QEMU makes legacy unless told otherwise.
case $board in
qemu-mps2)
	set -- "$@" -nic user,restrict=on # QEMU warns of an Ethernet controller without peer
	[ -z "$socket" ] || set -- "$@" -serial "unix:$socket,server=on,wait=off"
	;;
*)
	set -- "$@" -nic none -global virtio-mmio.force-legacy=false
	[ -z "$socket" ] ||
		set -- "$@" -chardev "socket,id=c,path=$socket" -device vhost-user-vsock-device,chardev=c
	;;
esac
# shellcheck disable=SC2086
exec $show "$@" $extra
