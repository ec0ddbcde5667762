#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The User-mode Linux kernel that the tests boot as a peer: built once from Debian's own
# source package with tests/linux/rpmsg.fragment, and kept outside the clone.
#
#	tests/linux/kernel.sh          build it if it is not there; prints its folder
#	tests/linux/kernel.sh --path   only print the folder
#
# The folder holds `linux`, `config` and `modules/*.ko`. Its name has the version of the source
# and a hash of what is built from it, so a change of either builds anew. A build
# happens in a folder of its own that is renamed when all is done: what bears the final name
# is whole. One lock lets a second caller wait for the first.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tar=/usr/src/linux-source-6.1.tar.xz
jobs=$(nproc)

say() {
	echo "linux-kernel: $*" >&2
}

if ! version=$(dpkg-query -W -f '${Version}' linux-source-6.1 2>/dev/null) || [ ! -r "$tar" ]; then
	say "Debian's package linux-source-6.1 is not installed: run \`make deps\`"
	exit 1
fi
hash=$(cat "$here/rpmsg.fragment" "$0" | sha256sum | cut -c 1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ampsock
final=$cache/uml-$version+$hash
if [ "${1-}" = --path ] || [ -e "$final" ]; then
	echo "$final"
	exit 0
elif [ $# != 0 ]; then
	say "unknown argument '$1'; usage: kernel.sh [--path]"
	exit 2
fi

mkdir -p "$cache"
exec 9>"$cache/uml.lock"
if ! flock -n 9; then
	say "another build is running, waiting for it"
	flock 9
fi
if [ -e "$final" ]; then
	echo "$final"
	exit 0
fi

# Under the lock, so what is left of an interrupted build is nobody's.
rm -rf "$cache"/tmp-uml.*
tmp=$(mktemp -d "$cache/tmp-uml.XXXXXX")
log=$tmp/build.log
ok=
done_with() {
	if [ -z "$ok" ]; then
		say "failed; the end of the log:"
		tail -n 20 "$log" >&2 || true
	fi
	rm -rf "$tmp"
}
trap done_with EXIT
trap 'exit 1' HUP INT TERM
: >"$log"

step() {
	say "$*"
	echo "== $*" >>"$log"
}

step "unpacking $(basename "$tar") ($version)"
mkdir "$tmp/src" "$tmp/obj" "$tmp/out" "$tmp/out/modules"
tar -C "$tmp/src" --strip-components=1 -xJf "$tar" >>"$log" 2>&1

mk() {
	make -C "$tmp/src" O="$tmp/obj" ARCH=um -j"$jobs" "$@" >>"$log" 2>&1 9>&-
}
unset MAKEFLAGS MFLAGS MAKELEVEL BUILD
step "configuring"
mk defconfig
"$tmp/src/scripts/kconfig/merge_config.sh" -m -O "$tmp/obj" \
	"$tmp/obj/.config" "$here/rpmsg.fragment" >>"$log" 2>&1
mk olddefconfig
missing=$(grep -e '^CONFIG' -e '^# CONFIG.* is not set$' "$here/rpmsg.fragment" |
	grep -vxF -f "$tmp/obj/.config" | grep -v 'is not set$' || true)
wrong=$(sed -n 's/^# \(CONFIG.*\) is not set$/\1=/p' "$here/rpmsg.fragment" |
	grep -F -f - "$tmp/obj/.config" | grep '^CONFIG' || true)
if [ -n "$missing$wrong" ]; then
	echo "these lines of rpmsg.fragment did not come about:" "$missing" "not:" "$wrong" >>"$log"
	exit 1
fi

step "compiling with $jobs jobs (about 4 minutes on 2 idle cores)"
mk linux modules &
job=$!
while kill -0 $job 2>/dev/null; do
	n=0
	while [ $n -lt 15 ] && kill -0 $job 2>/dev/null; do
		sleep 1
		n=$((n + 1))
	done
	say "$(grep -c '^  CC\|^  AR\|^  LD' "$log") objects"
done
wait $job

# Only what is run is kept: the tree is a gigabyte.
cp "$tmp/obj/linux" "$tmp/out/"
cp "$tmp/obj/.config" "$tmp/out/config"
cp "$tmp/obj/samples/rpmsg/rpmsg_client_sample.ko" "$tmp/out/modules/"
strip "$tmp/out/linux"
strip -g "$tmp/out/modules"/*.ko
for old in "$cache"/uml-*; do
	if [ -e "$old" ]; then
		say "removing the old $(basename "$old")"
		rm -rf "$old"
	fi
done
mv "$tmp/out" "$final"
ok=1
say "done"
echo "$final"
