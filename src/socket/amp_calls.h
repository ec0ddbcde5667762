/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The socket calls under the names that the library exports everywhere: amp_X has X's
 * signature, meaning and errno (the prototypes of POSIX's names in include/ say them).
 * src/posix/ gives them POSIX's names on bare metal; hosted programs have their calls
 * renamed at object level. Descriptors are the library's own, not the system's.
 */
#ifndef AMP_CALLS_H
#define AMP_CALLS_H

#include <sys/types.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>

/* api.c */
int amp_socket(int domain, int type, int protocol);
int amp_socketpair(int domain, int type, int protocol, int sv[2]);
int amp_bind(int fd, const struct sockaddr *addr, socklen_t len);
int amp_listen(int fd, int backlog);
int amp_accept(int fd, struct sockaddr *restrict addr, socklen_t *restrict len);
int amp_accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags);
int amp_connect(int fd, const struct sockaddr *addr, socklen_t len);
ssize_t amp_send(int fd, const void *buf, size_t len, int flags);
ssize_t amp_sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *dest,
		   socklen_t dest_len);
ssize_t amp_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t amp_recv(int fd, void *buf, size_t len, int flags);
ssize_t amp_recvfrom(int fd, void *restrict buf, size_t len, int flags,
		     struct sockaddr *restrict src, socklen_t *restrict src_len);
ssize_t amp_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t amp_read(int fd, void *buf, size_t len);
ssize_t amp_write(int fd, const void *buf, size_t len);
ssize_t amp_readv(int fd, const struct iovec *iov, int iovcnt);
ssize_t amp_writev(int fd, const struct iovec *iov, int iovcnt);
int amp_shutdown(int fd, int how);
int amp_sockatmark(int fd);
int amp_close(int fd);
int amp_getsockname(int fd, struct sockaddr *restrict addr, socklen_t *restrict len);
int amp_getpeername(int fd, struct sockaddr *restrict addr, socklen_t *restrict len);
int amp_getsockopt(int fd, int level, int name, void *restrict val, socklen_t *restrict len);
int amp_setsockopt(int fd, int level, int name, const void *val, socklen_t len);
/* The third argument, where there is one: an int (fcntl), an int pointer (ioctl). */
int amp_fcntl(int fd, int cmd, ...);
int amp_ioctl(int fd, unsigned long request, ...);
/* The same with that argument, whether there was one or not: for who has calls of his own that take it. */
int amp_fcntl_arg(int fd, int cmd, int arg);
int amp_ioctl_arg(int fd, unsigned long request, int *arg);

/* poll.c */
int amp_poll(struct pollfd *fds, nfds_t nfds, int timeout);
int amp_ppoll(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout,
	      const sigset_t *sigmask);
int amp_select(int nfds, fd_set *restrict readfds, fd_set *restrict writefds,
	       fd_set *restrict errorfds, struct timeval *restrict timeout);
int amp_pselect(int nfds, fd_set *restrict readfds, fd_set *restrict writefds,
		fd_set *restrict errorfds, const struct timespec *restrict timeout,
		const sigset_t *restrict sigmask);

/* resolve.c */
int amp_getaddrinfo(const char *restrict node, const char *restrict service,
		    const struct addrinfo *restrict hints, struct addrinfo **restrict res);
void amp_freeaddrinfo(struct addrinfo *res);
const char *amp_gai_strerror(int ecode);
int amp_getnameinfo(const struct sockaddr *restrict addr, socklen_t len, char *restrict host,
		    socklen_t host_len, char *restrict serv, socklen_t serv_len, int flags);

/* inet_text.c */
int amp_inet_pton(int af, const char *restrict src, void *restrict dst);
const char *amp_inet_ntop(int af, const void *restrict src, char *restrict dst, socklen_t size);
in_addr_t amp_inet_addr(const char *cp);
int amp_inet_aton(const char *cp, struct in_addr *in);
char *amp_inet_ntoa(struct in_addr in);

/* api.c: errno = err (a positive errno); returns -1. The one place that writes errno. */
int amp_fail(int err);

#endif /* AMP_CALLS_H */
