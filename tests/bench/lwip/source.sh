#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# lwIP, the peer of firmware in QEMU, as Debian's source package has it: fetched once by apt,
# which checks its signature, and kept outside the clone.
#
#	tests/bench/lwip/source.sh          fetch it if it is not there; prints its folder
#	tests/bench/lwip/source.sh --path   print its folder; fails when it is not there
#
# apt wants a list of source packages, which a machine need not have switched on: this uses lists of
# its own in a folder of its own, for the archive that the machine's packages come from, and
# nothing of the machine's is changed.
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ampsock
final=$cache/lwip
keys=/usr/share/keyrings/debian-archive-keyring.gpg

say() {
	echo "lwip: $*" >&2
}

if [ -e "$final" ]; then
	echo "$final"
	exit 0
fi
case ${1-} in
'') ;;
--path) exit 1 ;;
*)
	say "unknown argument '$1'; usage: source.sh [--path]"
	exit 2
	;;
esac

# shellcheck disable=SC1091 # where there is one
release=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
# shellcheck disable=SC2016 # apt's variables
where=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
	'Created-By: Packages' 'Origin: Debian' 2>/dev/null | grep " $release main\$" | head -n 1) || true
if [ -z "$where" ] || [ ! -r $keys ]; then
	say "apt knows no archive of Debian $release (after apt-get update?)"
	exit 1
fi

mkdir -p "$cache"
exec 9>"$cache/lwip.lock"
flock 9
if [ -e "$final" ]; then
	echo "$final"
	exit 0
fi
rm -rf "$cache"/tmp-lwip.* # under the lock: what is left of an interrupted one
tmp=$(mktemp -d "$cache/tmp-lwip.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$tmp/lists/partial" "$tmp/get"
echo "deb-src [signed-by=$keys] $where" >"$tmp/list"

apt() {
	apt-get -q -o Dir::Etc::sourcelist="$tmp/list" -o Dir::Etc::sourceparts=- \
		-o Dir::State::lists="$tmp/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		-o APT::Sandbox::User= -o Acquire::Retries=2 "$@" >>"$tmp/log" 2>&1
}
say "fetching Debian's source package (10 MB, mostly the list of packages)"
if ! apt update || ! (cd "$tmp/get" && apt source lwip && mv lwip-*/ "$tmp/lwip"); then
	say "apt does not get it:"
	tail -n 5 "$tmp/log" >&2
	exit 1
fi
mv "$tmp/lwip" "$final"
echo "$final"
