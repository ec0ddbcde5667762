/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Layouts of Linux's generic ABI, 64 and 32 bits. check.py compiles this against our
 * headers with every toolchain, and against glibc's on the host.
 */
#define P		     sizeof(void *)
#define IS(expr)	     LAYOUT_ASSERT(expr, #expr)
#define SIZE(type, len)	     IS(sizeof(type) == (len))
#define AT(type, member, at) IS(offsetof(type, member) == (at))

SIZE(socklen_t, 4);
SIZE(sa_family_t, 2);
SIZE(in_addr_t, 4);
SIZE(in_port_t, 2);
SIZE(nfds_t, P);
SIZE(struct sockaddr, 16);
AT(struct sockaddr, sa_data, 2);
SIZE(struct sockaddr_storage, 128);
AT(struct sockaddr_storage, ss_family, 0);
SIZE(struct in_addr, 4);
SIZE(struct sockaddr_in, 16);
AT(struct sockaddr_in, sin_port, 2);
AT(struct sockaddr_in, sin_addr, 4);
SIZE(struct in6_addr, 16);
SIZE(struct sockaddr_in6, 28);
AT(struct sockaddr_in6, sin6_port, 2);
AT(struct sockaddr_in6, sin6_flowinfo, 4);
AT(struct sockaddr_in6, sin6_addr, 8);
AT(struct sockaddr_in6, sin6_scope_id, 24);
SIZE(struct sockaddr_un, 110);
AT(struct sockaddr_un, sun_path, 2);
SIZE(struct sockaddr_vm, 16);
AT(struct sockaddr_vm, svm_port, 4);
AT(struct sockaddr_vm, svm_cid, 8);
SIZE(struct sockaddr_rpmsg, 40);
AT(struct sockaddr_rpmsg, rp_link, 2);
AT(struct sockaddr_rpmsg, rp_addr, 4);
AT(struct sockaddr_rpmsg, rp_name, 8);
SIZE(struct ip_mreq, 8);
SIZE(struct ipv6_mreq, 20);
AT(struct ipv6_mreq, ipv6mr_interface, 16);
SIZE(struct linger, 8);
AT(struct linger, l_linger, 4);
SIZE(struct pollfd, 8);
AT(struct pollfd, events, 4);
AT(struct pollfd, revents, 6);
SIZE(struct iovec, 2 * P);
AT(struct iovec, iov_len, P);
SIZE(struct msghdr, 7 * P);
AT(struct msghdr, msg_namelen, P);
AT(struct msghdr, msg_iov, 2 * P);
AT(struct msghdr, msg_iovlen, 3 * P);
AT(struct msghdr, msg_control, 4 * P);
AT(struct msghdr, msg_controllen, 5 * P);
AT(struct msghdr, msg_flags, 6 * P);
SIZE(struct cmsghdr, P + 8);
AT(struct cmsghdr, cmsg_level, P);
AT(struct cmsghdr, cmsg_type, P + 4);
IS(CMSG_LEN(4) == P + 12);
IS(CMSG_SPACE(4) == P + 8 + P);
SIZE(struct addrinfo, 16 + 4 * P);
AT(struct addrinfo, ai_addrlen, 16);
AT(struct addrinfo, ai_addr, 16 + P);
AT(struct addrinfo, ai_canonname, 16 + 2 * P);
AT(struct addrinfo, ai_next, 16 + 3 * P);
SIZE(struct hostent, 3 * P + 8);
AT(struct hostent, h_addrtype, 2 * P);
AT(struct hostent, h_addr_list, 2 * P + 8);
SIZE(struct servent, 4 * P);
AT(struct servent, s_proto, 3 * P);
SIZE(struct protoent, 3 * P);
SIZE(struct netent, 2 * P + 8);
SIZE(struct if_nameindex, 2 * P);
AT(struct if_nameindex, if_name, P);
