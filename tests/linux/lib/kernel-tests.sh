#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Build the kernel's own two-ended AF_VSOCK tests (tools/testing/vsock) from Debian's source
# package and print the directory of the programs. Once for each version of the package: what is
# built, and the few files that are unpacked for it, lies in the user's cache, not in the clone.
set -eu
package=linux-source-6.1
programs="vsock_test vsock_diag_test"

version=$(dpkg-query -W -f '${Version}' $package 2>/dev/null) || version=
tar=/usr/src/$package.tar.xz
if [ -z "$version" ] || [ ! -e "$tar" ]; then
	echo "$package is not installed: make deps" >&2
	exit 1
fi
dir=${XDG_CACHE_HOME:-$HOME/.cache}/ampsock/vsock-tests-$version
if [ ! -d "$dir" ]; then
	mkdir -p "$(dirname "$dir")"
	temp=$(mktemp -d "$dir.XXXXXX")
	trap 'rm -rf "$temp"' EXIT
	tar -xJf "$tar" -C "$temp" --strip-components=1 \
		$package/tools/testing/vsock $package/tools/include
	for p in $programs; do
		# The flags of its Makefile, static. Its warnings are not ours.
		(cd "$temp/tools/testing/vsock" && ${CC:-gcc} -O2 -w -static -I. -I../../include \
			-fno-strict-overflow -fno-strict-aliasing -fno-common -D_GNU_SOURCE \
			-o "$temp/$p" "$p.c" timeout.c control.c util.c 2>"$temp/$p.log") || {
			cat "$temp/$p.log" >&2
			exit 1
		}
	done
	rm -rf "$temp/tools"
	chmod 755 "$temp"
	# Whoever else built it at the same time built the same.
	mv -T "$temp" "$dir" 2>/dev/null || [ -d "$dir" ]
fi
echo "$dir"
