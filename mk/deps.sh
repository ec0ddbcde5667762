#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Install the Debian packages of mk/packages that are missing; name them first.
# Nothing is called but dpkg-query when all are there.
set -eu
list=$(sed -e '/^#/d' -e '/^$/d' "$(dirname "$0")/packages")

if ! command -v dpkg-query >/dev/null 2>&1; then
	echo "make deps: this is no Debian system. Install the equivalents of:" >&2
	echo "$list" | tr '\n' ' ' >&2
	echo >&2
	exit 1
fi

# A package may be removed but known ("deinstall ok config-files"): only "installed" counts.
# shellcheck disable=SC2086 # a list of words
have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $list 2>/dev/null |
	sed -n 's/^installed //p') || true
missing=
for p in $list; do
	echo "$have" | grep -qxF -e "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

echo "make deps: installing:$missing"
sudo=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "make deps: not root and no sudo. As root, run:" >&2
		echo "  apt-get update && apt-get install --no-install-recommends$missing" >&2
		exit 1
	fi
	sudo=sudo
fi

apt() {
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		-o DPkg::Lock::Timeout=120 -o Acquire::Retries=2 "$@" </dev/null
}

fail() {
	echo >&2
	echo "make deps: $1" >&2
	echo "  Still missing:$missing" >&2
	echo "  Look at the message of apt-get above; then run \`make deps\` again." >&2
	exit 1
}

apt update || fail "apt-get update failed: are the network and /etc/apt/sources.list in order?"
# shellcheck disable=SC2086 # a list of words
apt install --no-install-recommends $missing ||
	fail "apt-get install failed: the list is for Debian 12 (bookworm), main."
