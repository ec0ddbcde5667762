/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys/socket.h (POSIX.1-2017) for bare toolchains, which have none. Numbers and layouts
 * equal Linux's generic ABI; errno and O_NONBLOCK are the C library's. Which option works
 * on which family: docs/posix.md.
 *
 * All calls: thread context only, any number of threads; EBADF and ENOTSOCK as POSIX says.
 * Buffers and addresses are borrowed for the call. "Blocks" ends with EAGAIN when the
 * socket is O_NONBLOCK, the call has MSG_DONTWAIT, or SO_RCVTIMEO/SO_SNDTIMEO is over.
 *
 * close(), read(), write() and fcntl() are ours, too; their prototypes are the C library's, in
 * <unistd.h> and <fcntl.h>. close() never blocks: what was sent goes out behind it (SO_LINGER).
 */
#ifndef AMP_SYS_SOCKET_H
#define AMP_SYS_SOCKET_H

#ifdef AF_INET
#error "the C library's or another stack's <sys/socket.h> came first: name ampsock's include/ before it (-I), or include ampsock.h alone"
#endif

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Address families. */
#define AF_UNSPEC 0
#define AF_UNIX	  1 /* socketpair() only */
#define AF_LOCAL  AF_UNIX
#define AF_INET	  2
#define AF_INET6  10
#define AF_VSOCK  40
#define PF_UNSPEC AF_UNSPEC
#define PF_UNIX	  AF_UNIX
#define PF_LOCAL  AF_LOCAL
#define PF_INET	  AF_INET
#define PF_INET6  AF_INET6
#define PF_VSOCK  AF_VSOCK

/* Socket types, and flags that socket(), accept4() and socketpair() take with them. */
#define SOCK_STREAM    1
#define SOCK_DGRAM     2
#define SOCK_RAW       3 /* no family has it */
#define SOCK_SEQPACKET 5
#define SOCK_NONBLOCK  0x00000800
#define SOCK_CLOEXEC   0x00080000 /* accepted, means nothing: there is no exec */

/* Levels and options of getsockopt() and setsockopt(). */
#define SOL_SOCKET    1
#define SO_DEBUG      1
#define SO_REUSEADDR  2
#define SO_TYPE	      3
#define SO_ERROR      4
#define SO_DONTROUTE  5
#define SO_BROADCAST  6
#define SO_SNDBUF     7
#define SO_RCVBUF     8
#define SO_KEEPALIVE  9
#define SO_OOBINLINE  10
#define SO_LINGER     13
#define SO_REUSEPORT  15
#define SO_RCVLOWAT   18
#define SO_SNDLOWAT   19
#define SO_RCVTIMEO   20 /* struct timeval */
#define SO_SNDTIMEO   21 /* struct timeval */
#define SO_ACCEPTCONN 30
#define SO_PROTOCOL   38
#define SO_DOMAIN     39

/* Linux's number; listen() takes 255 of it at most, and the pool of sockets bounds it further. */
#define SOMAXCONN 4096

/* Flags of send and receive. */
#define MSG_OOB	      0x0001 /* EOPNOTSUPP */
#define MSG_PEEK      0x0002
#define MSG_DONTROUTE 0x0004 /* EOPNOTSUPP */
#define MSG_CTRUNC    0x0008
#define MSG_TRUNC     0x0020
#define MSG_DONTWAIT  0x0040
#define MSG_EOR	      0x0080
#define MSG_WAITALL   0x0100
#define MSG_NOSIGNAL  0x4000 /* always so: there are no signals */

#define SCM_RIGHTS 1

/* shutdown() */
#define SHUT_RD	  0
#define SHUT_WR	  1
#define SHUT_RDWR 2

#ifdef __cplusplus
extern "C" {
#endif

typedef unsigned int socklen_t;
typedef unsigned short sa_family_t;

struct sockaddr {
	sa_family_t sa_family;
	char sa_data[14];
};

/* 128 bytes, aligned for every sockaddr_*. */
struct sockaddr_storage {
	sa_family_t ss_family;
	char __ss_pad[128 - sizeof(sa_family_t) - sizeof(unsigned long)];
	unsigned long __ss_align;
};

/*
 * POSIX makes these lengths int and socklen_t, Linux's layout has size_t: the padding on
 * 64-bit cores joins the two. It goes after or before the value as the byte order asks.
 */
#if __SIZEOF_POINTER__ == 8 && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define __AMP_PAD_LO(name) int name;
#define __AMP_PAD_HI(name)
#elif __SIZEOF_POINTER__ == 8
#define __AMP_PAD_LO(name)
#define __AMP_PAD_HI(name) int name;
#else
#define __AMP_PAD_LO(name)
#define __AMP_PAD_HI(name)
#endif

struct msghdr {
	void *msg_name;	       /* address, or NULL */
	socklen_t msg_namelen; /* recvmsg: room in, length out */
	struct iovec *msg_iov;
	__AMP_PAD_LO(__pad1)
	int msg_iovlen; /* entries of msg_iov: at most 1024 */
	__AMP_PAD_HI(__pad1)
	void *msg_control; /* no family has ancillary data: recvmsg sets the length to 0 */
	__AMP_PAD_LO(__pad2)
	socklen_t msg_controllen; /* bytes */
	__AMP_PAD_HI(__pad2)
	int msg_flags; /* out of recvmsg: MSG_TRUNC, MSG_EOR */
};

struct cmsghdr {
	__AMP_PAD_LO(__pad1)
	socklen_t cmsg_len; /* bytes, this header included */
	__AMP_PAD_HI(__pad1)
	int cmsg_level;
	int cmsg_type;
};

#undef __AMP_PAD_LO
#undef __AMP_PAD_HI

#define __CMSG_ALIGN(len) (((len) + sizeof(size_t) - 1) & ~(sizeof(size_t) - 1))
#define CMSG_SPACE(len)	  (__CMSG_ALIGN(sizeof(struct cmsghdr)) + __CMSG_ALIGN(len))
#define CMSG_LEN(len)	  (__CMSG_ALIGN(sizeof(struct cmsghdr)) + (len))
#define CMSG_DATA(cmsg)	  ((unsigned char *)((struct cmsghdr *)(cmsg) + 1))
#define CMSG_FIRSTHDR(mhdr)                                       \
	((size_t)(mhdr)->msg_controllen >= sizeof(struct cmsghdr) \
		 ? (struct cmsghdr *)(mhdr)->msg_control          \
		 : (struct cmsghdr *)NULL)
#define CMSG_NXTHDR(mhdr, cmsg) __amp_cmsg_nxthdr((mhdr), (cmsg))

/* The header after c, or NULL when what is left cannot hold one (RFC 3542, 20.3). */
static __inline struct cmsghdr *__amp_cmsg_nxthdr(const struct msghdr *m,
						  const struct cmsghdr *c)
{
	size_t at, left;

	if (c == NULL)
		return CMSG_FIRSTHDR(m);
	at = (size_t)((const char *)c - (const char *)m->msg_control);
	left = (size_t)m->msg_controllen - at;
	if (c->cmsg_len < sizeof(*c) || c->cmsg_len > left ||
	    left - c->cmsg_len < __CMSG_ALIGN(c->cmsg_len) - c->cmsg_len + sizeof(*c))
		return NULL;
	return (struct cmsghdr *)(void *)((char *)m->msg_control + at +
					  __CMSG_ALIGN(c->cmsg_len));
}

struct linger {
	int l_onoff;
	int l_linger; /* seconds */
};

/*
 * socket - a new descriptor, the lowest free one. type: SOCK_* | SOCK_NONBLOCK |
 * SOCK_CLOEXEC; protocol: 0 or the type's own (IPPROTO_TCP, IPPROTO_UDP).
 * -1 with EAFNOSUPPORT, ESOCKTNOSUPPORT (the family has no such type; unknown flag),
 * EPROTONOSUPPORT, EMFILE (AMPSOCK_SOCKETS are in use: a connection of AF_INET takes two, and all
 * of AF_INET one more), ENOBUFS. POSIX.1-2017.
 */
int socket(int domain, int type, int protocol);

/*
 * socketpair - two connected sockets (AF_UNIX; SOCK_STREAM, SOCK_SEQPACKET) over the in-core
 * loop, to sv[0] and sv[1]; a third slot is needed for a moment. 0, or -1 as socket(),
 * EOPNOTSUPP (another family). POSIX.1-2017.
 */
int socketpair(int domain, int type, int protocol, int sv[2]);

/*
 * bind - give the socket a local address. Port 0: any free one; getsockname() tells which.
 * On AF_INET the proxy answers, so this waits for it even on an O_NONBLOCK socket.
 * 0, or -1 with EADDRINUSE, EADDRNOTAVAIL, EACCES (the proxy's rules), EAFNOSUPPORT,
 * EINVAL (already bound, bad length), ENOBUFS (a pool is empty), ENETUNREACH (no link),
 * ENETDOWN (no proxy there), ETIMEDOUT; AF_RPMSG: ENAMETOOLONG, ENODEV (no such link).
 * POSIX.1-2017.
 */
int bind(int fd, const struct sockaddr *addr, socklen_t len);

/*
 * listen - make a SOCK_STREAM or SOCK_SEQPACKET socket accept connections. backlog is
 * bounded to 1..255 (below 0: 255) and by the pool of sockets. 0, or -1 with EINVAL
 * (connected; AF_VSOCK: not bound), EOPNOTSUPP (type), EADDRINUSE, EACCES, ENETDOWN,
 * ENETUNREACH (no link), ENOBUFS, ETIMEDOUT. POSIX.1-2017.
 */
int listen(int fd, int backlog);

/*
 * accept, accept4 - the oldest waiting connection as a new descriptor; blocks, at most
 * SO_RCVTIMEO. addr may be NULL, else filled in up to *len, and *len set to the true length.
 * flags: SOCK_NONBLOCK, SOCK_CLOEXEC; O_NONBLOCK is not inherited. -1 with EAGAIN, EINVAL
 * (not listening, bad flag), EOPNOTSUPP (type), EACCES (AF_INET: the proxy's rules no longer
 * allow it; told once, then EINVAL). POSIX.1-2017; accept4: Linux, POSIX.1-2024.
 */
int accept(int fd, struct sockaddr *__restrict addr, socklen_t *__restrict len);
int accept4(int fd, struct sockaddr *__restrict addr, socklen_t *__restrict len, int flags);

/*
 * connect - connect to addr, or set a datagram socket's peer (AF_UNSPEC takes it away).
 * Blocks, at most SO_SNDTIMEO, else AMPSOCK_CONNECT_MS. 0, or -1 with EINPROGRESS
 * (O_NONBLOCK, or AF_INET and SO_SNDTIMEO is over: wait for POLLOUT, then read SO_ERROR),
 * EALREADY, EISCONN, ECONNREFUSED (nobody listens, on every family), ETIMEDOUT, ENETUNREACH
 * (no way there, no link), ENETDOWN (AF_INET: no proxy there), EOPNOTSUPP (listening),
 * EHOSTUNREACH, EACCES (the proxy's rules), EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL,
 * ENOBUFS, EMFILE (pools, limits of the proxy), ECONNABORTED (another thread's shutdown() gave
 * it up); AF_RPMSG: ENAMETOOLONG, ENODEV (no such link). POSIX.1-2017.
 */
int connect(int fd, const struct sockaddr *addr, socklen_t len);

/*
 * send, sendto, sendmsg - send len bytes; blocks. flags: MSG_DONTWAIT MSG_NOSIGNAL MSG_EOR.
 * A stream may send less (non-blocking, time-out); a message goes whole or not at all.
 * Returns bytes sent, or -1 with EAGAIN, EPIPE (shut for sending, or the peer reads no
 * more), ECONNRESET (told once; AF_INET: or the true reason, as recv), ENOTCONN, EDESTADDRREQ,
 * EISCONN, EMSGSIZE (message too large; iovlen out of range), EOPNOTSUPP (flag), ENOBUFS,
 * EACCES, EINVAL, EAFNOSUPPORT (the name's family); AF_RPMSG by name: ECONNREFUSED,
 * ENETUNREACH, ENAMETOOLONG, ENODEV (no such link). POSIX.1-2017.
 */
ssize_t send(int fd, const void *buf, size_t len, int flags);
ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *dest,
	       socklen_t dest_len);
ssize_t sendmsg(int fd, const struct msghdr *msg, int flags);

/*
 * recv, recvfrom, recvmsg - receive up to len bytes; blocks until there are SO_RCVLOWAT, or
 * all of them with MSG_WAITALL. flags: MSG_PEEK MSG_DONTWAIT MSG_WAITALL MSG_TRUNC (returns
 * a message's true length). What of a message does not fit is lost, and recvmsg says
 * MSG_TRUNC. Returns bytes, 0 at end of stream (SOCK_STREAM: never for another reason), or
 * -1 with EAGAIN, ECONNRESET (told once; AF_INET: or the true reason, such as ETIMEDOUT,
 * EHOSTUNREACH, EACCES, ENOBUFS), ECONNREFUSED (a datagram's ICMP answer), ENOBUFS (AF_RPMSG
 * SOCK_SEQPACKET: its ring was full; once), ENOTCONN, EMSGSIZE (iovlen out of range),
 * EOPNOTSUPP (flag), EINVAL. POSIX.1-2017.
 */
ssize_t recv(int fd, void *buf, size_t len, int flags);
ssize_t recvfrom(int fd, void *__restrict buf, size_t len, int flags,
		 struct sockaddr *__restrict src, socklen_t *__restrict src_len);
ssize_t recvmsg(int fd, struct msghdr *msg, int flags);

/*
 * shutdown - no more sending (SHUT_WR: the peer reads what is queued, then end of stream),
 * no more receiving (SHUT_RD), or both. 0, or -1 with ENOTCONN, EINVAL. POSIX.1-2017.
 */
int shutdown(int fd, int how);

/*
 * getsockname, getpeername - the local and the peer's address, up to *len bytes; *len is
 * set to the true length. AF_INET: the real one, as the proxy's socket has it.
 * 0, or -1 with ENOTCONN (peer), EINVAL. POSIX.1-2017.
 */
int getsockname(int fd, struct sockaddr *__restrict addr, socklen_t *__restrict len);
int getpeername(int fd, struct sockaddr *__restrict addr, socklen_t *__restrict len);

/*
 * getsockopt, setsockopt - read or set an option; *len is the room and then the length.
 * 0, or -1 with ENOPROTOOPT (not supported, or read-only: nothing is pretended), EINVAL
 * (length or value), EDOM (tv_usec out of range), EFAULT (NULL), ETIMEDOUT. POSIX.1-2017.
 */
int getsockopt(int fd, int level, int name, void *__restrict val, socklen_t *__restrict len);
int setsockopt(int fd, int level, int name, const void *val, socklen_t len);

/*
 * sockatmark - there is no urgent data in any family: 0 for a stream socket, else -1 with
 * ENOTTY (not a stream socket), EBADF. POSIX.1-2017.
 */
int sockatmark(int fd);

#ifdef __cplusplus
}
#endif

#endif /* AMP_SYS_SOCKET_H */
