#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the archives define and what they want from others.

	symbols.py [--nm NM] [--mixed] ARCHIVE

It must link beside OpenAMP, lwIP or newlib without a clash: every external symbol of the
library is amp_*, and with --mixed (firmware) a POSIX name. It must link without
an operating system: nothing is wanted but <string.h>, errno and compiler helpers, and no
64-bit division (a helper of 1 KiB on Cortex-M). Hosted objects may call their libc.
"""

import argparse
import re
import subprocess
import sys

STRING_H = """memcpy memset memmove memcmp memchr strlen strcmp strncmp strchr strrchr strcpy
strncpy strnlen""".split()
ERRNO = ["__errno_location", "__errno", "errno"]
HELPERS = re.compile(r"^(__aeabi_(?!.*div)|__gnu_thumb|__stack_chk|__clz|__ctz|__popcount|__bswap|"
		     r"__atomic_|__sync_|__riscv_|_GLOBAL_OFFSET_TABLE_|__asan_|__ubsan_|__tsan_|"
		     r"__sanitizer_|__ashldi3|__lshrdi3|__ashrdi3|__muldi3|__mulsi3|__tls_get_addr|"
		     r"__aeabi_u?idiv|__u?divsi3|__u?modsi3|__aarch64_|__fentry__|__gcov)")
# 32-bit division is a helper on cores without the instruction (Cortex-M0): allowed.
HOSTED_OBJECTS = re.compile(r"^(posix|sigbus|vhost_user_\w+|hosted_\w+)\.o$")

POSIX_NAMES = """socket socketpair bind listen accept accept4 connect send sendto sendmsg recv
recvfrom recvmsg shutdown getsockname getpeername getsockopt setsockopt sockatmark
read write readv writev close fcntl ioctl poll ppoll select pselect
getaddrinfo freeaddrinfo gai_strerror getnameinfo
sethostent gethostent endhostent setnetent getnetent getnetbyname getnetbyaddr endnetent
setprotoent getprotoent getprotobyname getprotobynumber endprotoent
setservent getservent getservbyname getservbyport endservent
if_nametoindex if_indextoname if_nameindex if_freenameindex
inet_pton inet_ntop inet_addr inet_ntoa inet_aton htonl htons ntohl ntohs
in6addr_any in6addr_loopback _read _write _close""".split()


def main():
	p = argparse.ArgumentParser()
	p.add_argument("--nm", default="nm")
	p.add_argument("--mixed", action="store_true")
	p.add_argument("archive")
	opt = p.parse_args()
	text = subprocess.run([opt.nm, "-g", "-A", "-P", opt.archive], check=True,
			      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
	defined, wanted = {}, []
	for line in text.splitlines():
		m = re.match(r"^.*\[([^\]]+)\]: (\S+) (\S)", line)
		if not m:
			continue
		obj, name, kind = m.groups()
		if kind in "Uvw":
			wanted.append((obj, name))
		else:
			defined[name] = obj
	bad = []
	for name, obj in sorted(defined.items()):
		if opt.mixed and name in POSIX_NAMES:
			continue
		if not name.startswith("amp_") and not name.startswith("__odr_asan"):
			bad.append("%s: %s does not begin with amp_" % (obj, name))
	for obj, name in wanted:
		if name in defined or name in STRING_H or name in ERRNO or HELPERS.match(name):
			continue
		if HOSTED_OBJECTS.match(obj) and not opt.mixed:
			continue
		bad.append("%s: wants %s" % (obj, name))
	for line in bad:
		print("%s: %s" % (opt.archive, line))
	if not defined:
		print("%s: no symbols at all" % opt.archive)
	return 1 if bad or not defined else 0


if __name__ == "__main__":
	sys.exit(main())
