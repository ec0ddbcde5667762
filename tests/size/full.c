/* SPDX-License-Identifier: BSD-3-Clause */
/* Every public function kept. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <ampsock.h>

#include "socket/fd.h"

int main(void);

#if AMPSOCK_RPMSG
#define LINK amp_link_rpmsg
#else
#define LINK amp_link_vsock
#endif

typedef void (*any_fn)(void);
#define F(name) (any_fn) name

const volatile any_fn every[] = {
	F(socket),
	F(socketpair),
	F(bind),
	F(listen),
	F(accept),
	F(connect),
	F(send),
	F(sendto),
	F(sendmsg),
	F(recv),
	F(recvfrom),
	F(recvmsg),
	F(read),
	F(write),
	F(readv),
	F(writev),
	F(shutdown),
	F(close),
	F(getsockname),
	F(getpeername),
	F(getsockopt),
	F(setsockopt),
	F(poll),
	F(select),
	F(fcntl),
	F(pselect),
	F(ioctl),
	F(getaddrinfo),
	F(freeaddrinfo),
	F(gai_strerror),
	F(getnameinfo),
	F(if_nametoindex),
	F(if_indextoname),
	F(inet_pton),
	F(inet_ntop),
	F(accept4),
	F(ppoll),
	F(LINK),
	F(amp_link_callback),
	F(amp_link_wait),
	F(amp_reserve),
	F(amp_commit),
	F(amp_borrow),
	F(amp_give_back),
	F(amp_poll_links),
	F(amp_stats_get),
	F(amp_log_hook),
	F(amp_fd_console),
	F(sockatmark),
	F(if_nameindex),
	F(if_freenameindex),
	F(inet_addr),
	F(inet_aton),
	F(inet_ntoa),
	F(getprotobyname),
	F(getprotobynumber),
	F(getprotoent),
	F(getservbyname),
	F(getservbyport),
	F(getservent),
	F(gethostent),
	F(getnetbyname),
	F(getnetbyaddr),
	F(getnetent),
	F(setservent),
	F(endservent),
	F(sethostent),
	F(endhostent),
	F(setnetent),
	F(endnetent),
	F(setprotoent),
	F(endprotoent),
};

int main(void)
{
	unsigned i;

	for (i = 0; i < sizeof(every) / sizeof(every[0]); i++)
		every[i]();
	return 0;
}
