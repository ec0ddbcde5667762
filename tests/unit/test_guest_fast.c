// SPDX-License-Identifier: BSD-3-Clause
/* test_guest.c with the short ways: a core's own configuration where it is not built for size. */
// build: -UAMPSOCK_CONFIG -DAMPSOCK_FAST=1 -DAMPSOCK_INET=0 -DAMPSOCK_LOOP=0 -DAMP_PORT_THREADS=0
// build: src/socket/stack.c src/socket/socks.c src/socket/api.c src/socket/msg.c src/socket/msg_name.c src/socket/links.c src/socket/rxring.c
// build: src/socket/option.c src/vsock/vsock_option.c src/socket/shutdown.c src/vsock/vsock_shutdown.c src/vsock/af_vsock.c src/vsock/vlink.c
// build: src/vsock/link_driver.c src/vsock/vsock.c src/vsock/vsock_out.c src/vsock/vsock_conn.c src/virtio/vq_split.c
#define GUEST_FAST 1
#include "test_guest.c"
