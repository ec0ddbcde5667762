#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The system calls that one of the proxy's two processes makes, one a line as
#
#	NAME[.VARIANT] [hot] FILE:LINE
#
# from comments beside the code that makes them:
#
#	#syscalls NAME ...		the worker
#	#syscalls:hot NAME ...		the worker, for each piece of data: first in the filter
#	#syscalls:helper NAME ...	the helper
#
# A worker that takes another's place is forked by a helper that has its filter already, and keeps
# it: so the helper's has what the worker's has, too, whatever the arguments, which the worker's
# own looks at.
#
# Usage: syscalls.sh worker|helper FILE ...
set -eu
who=$1
shift
grep -Hn '#syscalls' "$@" | awk -v who="$who" '
{
	split($0, part, ":")
	place = part[1] ":" part[2]
	if (!match($0, /#syscalls(:[a-z]+)? /))
		next
	tag = substr($0, RSTART, RLENGTH - 1)
	rest = substr($0, RSTART + RLENGTH)
	sub(/\*\/.*/, "", rest)
	if (who == "worker" && tag == "#syscalls:helper")
		next
	n = split(rest, name, /[ \t]+/)
	for (i = 1; i <= n; i++)
		if (name[i] != "") {
			if (who == "helper")
				sub(/\..*/, "", name[i])
			print name[i], (who == "worker" && tag == "#syscalls:hot" ? "hot " : "") place
		}
}'
