/* SPDX-License-Identifier: BSD-3-Clause */
/* sys/un.h (POSIX.1-2017) for bare toolchains. AF_UNIX exists as socketpair() only. */
#ifndef AMP_SYS_UN_H
#define AMP_SYS_UN_H

#include <sys/socket.h>

struct sockaddr_un {
	sa_family_t sun_family; /* AF_UNIX */
	char sun_path[108];
};

#endif /* AMP_SYS_UN_H */
