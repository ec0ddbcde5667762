// SPDX-License-Identifier: BSD-3-Clause
/* The same in a program that has no AF_VSOCK: AF_RPMSG carries. */
// build: -DAMPSOCK_VSOCK=0 -DAMPSOCK_RPMSG=1 -DAMPSOCK_SOCKETS=12 -DAMPSOCK_RING_LEN=1024
// build: src/socket/stack.c src/socket/socks.c src/socket/api.c src/socket/msg.c src/socket/msg_name.c src/socket/option.c
// build: src/socket/poll.c src/socket/links.c src/socket/rxring.c src/af_inet/af_inet.c src/af_inet/inet_addr.c
// build: src/af_inet/inet_carrier.c src/af_inet/inet_session.c src/af_inet/inet_udp.c src/af_inet/inet_opt.c
// build: src/wire/offload.c src/af_inet/inet_listen.c src/af_inet/inet_name.c
// build: src/af_inet/inet_direct.c src/socket/listen.c src/socket/name.c
// build: src/socket/direct.c src/socket/shutdown.c src/af_inet/inet_shutdown.c
#include "test_inet_udp.c"
