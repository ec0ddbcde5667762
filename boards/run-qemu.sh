#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# run-qemu.sh BOARD FIRMWARE.elf [-s VHOST_USER_SOCKET] [-q 'QEMU ARGUMENTS'] [-n] [ARGUMENT...]
#
# Becomes QEMU running the firmware with its console on stdin and stdout. Exits with the
# status of the firmware's main(). -s: a virtio-vsock device served at that socket;
# -n: print the command line instead. No ARGUMENT may contain a blank or a comma.
set -eu

usage() {
	sed -n '3,7s/^# //p' "$0" >&2
	exit 2
}

# board               qemu                 machine                 cpu
table='
qemu-virt-aarch64     qemu-system-aarch64  virt,gic-version=2      cortex-a53
qemu-virt-arm         qemu-system-arm      virt,gic-version=2      cortex-a15
qemu-virt-riscv64     qemu-system-riscv64  virt                    rv64
qemu-virt-riscv32     qemu-system-riscv32  virt                    rv32
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
	echo "run-qemu.sh: no board $board" >&2
	exit 2
}
# shellcheck disable=SC2086
set -- $row -- "$@"
qemu=$2 machine=$3 cpu=$4
shift 5
semihosting=enable=on,target=native,arg=$(basename "$firmware" .elf)
for arg in "$@"; do
	semihosting=$semihosting,arg=$arg
done

# Memory that the device's process can map: shared, by descriptor. The device itself is
# virtio-mmio, which QEMU makes legacy unless told otherwise.
set -- "$qemu" -M "$machine,memory-backend=m" -cpu "$cpu" \
	-object memory-backend-memfd,id=m,size=64M,share=on \
	-global virtio-mmio.force-legacy=false -nic none -nographic \
	-semihosting-config "$semihosting" -kernel "$firmware"
case $board in
*riscv*) set -- "$@" -bios none ;;
esac
if [ -n "$socket" ]; then
	set -- "$@" -chardev "socket,id=c,path=$socket" -device vhost-user-vsock-device,chardev=c
fi
# shellcheck disable=SC2086
exec $show "$@" $extra
