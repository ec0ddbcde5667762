/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main PORT COMMANDS COUNT [poll | untimed]
 *
 * The client of examples/throughput.c on lwIP's raw API: the same commands to the same server,
 * which slirp has at 10.0.2.2, and the same lines printed. Received data are counted and let
 * go of where they lie, sent data are sent from where they lie: lwIP's raw API copies neither.
 * poll: does not sleep when there is nothing to do. untimed: sleeps without an alarm, until
 * something comes, so that under -icount the clock stands still meanwhile (see icount.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lwip/init.h"
#include "lwip/tcp.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include "vnet.h"
#include "../../../src/port/port.h"

/* One command at a time. */
static struct {
	char cmd;
	uint64_t count, in, out; /* bytes: to move, received, given to tcp_write() */
	uint64_t start_us, us;
	bool connected, done, failed;
} run;

static bool awake, untimed;
static uint8_t head[9];
static const uint8_t data[65536] __attribute__((aligned(8)));

u32_t sys_now(void)
{
	return amp_port_now_ms();
}

static uint64_t now_us(void)
{
	return board.timer->clock.ticks() * 1000 / (board.timer_hz / 1000);
}

static void over(bool failed)
{
	if (run.done)
		return;
	run.us = now_us() - run.start_us;
	run.us += run.us == 0;
	run.failed = failed;
	run.done = true;
}

/* As much as the send buffer takes, in whole segments. */
static void push(struct tcp_pcb *pcb)
{
	uint64_t left;

	while (run.cmd == 'T' && run.out < run.count) {
		uint32_t at = (uint32_t)(run.out % sizeof(data)), room = tcp_sndbuf(pcb);
		uint32_t len = room < sizeof(data) - at ? room : (uint32_t)sizeof(data) - at;

		left = run.count - run.out;
		if (len > TCP_MSS)
			len -= len % TCP_MSS;
		if (len > left)
			len = (uint32_t)left;
		if ((len < TCP_MSS && len < left && at + len < sizeof(data)) ||
		    tcp_write(pcb, data + at, (u16_t)len, 0) != ERR_OK)
			break; /* sent() comes back to it */
		run.out += len;
	}
	(void)tcp_output(pcb);
}

static err_t sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	(void)arg;
	(void)len;
	push(pcb);
	return ERR_OK;
}

static err_t received(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	(void)arg;
	(void)err;
	if (!p) {
		over(true);
		return ERR_OK;
	}
	run.in += p->tot_len;
	tcp_recved(pcb, p->tot_len);
	pbuf_free(p);
	if (run.in == (run.cmd == 'T' ? 1 : run.count))
		over(false);
	else if (run.cmd == 'P')
		(void)(tcp_write(pcb, data, 1, 0) == ERR_OK && tcp_output(pcb) == ERR_OK);
	return ERR_OK;
}

static void lost(void *arg, err_t err)
{
	(void)arg;
	(void)err;
	over(true);
}

static err_t connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
	(void)arg;
	(void)err;
	run.connected = true;
	run.start_us = now_us();
	(void)tcp_write(pcb, head, sizeof(head), 0);
	if (run.cmd == 'P')
		(void)tcp_write(pcb, data, 1, 0);
	push(pcb);
	return ERR_OK;
}

static void turn(struct netif *nif)
{
	bool any = vnet_poll(nif);

	sys_check_timeouts();
	vnet_kick();
	if (!any && !awake && !vnet_arm())
		(void)amp_port_wait(untimed ? -1 : (int32_t)sys_timeouts_sleeptime());
}

static bool measure(struct netif *nif, const ip4_addr_t *host, u16_t port)
{
	const char *what = run.cmd == 'P'   ? "round trips/s"
			   : run.cmd == 'R' ? "MB/s down"
					    : "MB/s up";
	struct tcp_pcb *pcb = tcp_new();
	int i;

	head[0] = (uint8_t)run.cmd;
	for (i = 0; i < 8; i++)
		head[1 + i] = (uint8_t)(run.count >> 8 * i);
	tcp_nagle_disable(pcb);
	tcp_recv(pcb, received);
	tcp_sent(pcb, sent);
	tcp_err(pcb, lost);
	if (tcp_connect(pcb, host, port, connected) != ERR_OK)
		return false;
	while (!run.done)
		turn(nif);
	if (run.failed)
		return false;
	tcp_recv(pcb, NULL);
	tcp_abort(pcb);
	vnet_kick();
	printf("throughput: %c %lu in %lu us: %lu %s\n", run.cmd, (unsigned long)run.count,
	       (unsigned long)run.us,
	       (unsigned long)(run.cmd == 'P' ? run.count * 1000000 / run.us
					      : run.count / run.us),
	       what);
	return true;
}

int main(int argc, char **argv)
{
	static struct netif nif;
	ip4_addr_t addr, mask, host;
	const char *cmd;

	if (argc < 4) {
		printf("main PORT COMMANDS COUNT [poll | untimed]\n");
		return 2;
	}
	awake = argc > 4 && strcmp(argv[4], "poll") == 0;
	untimed = argc > 4 && strcmp(argv[4], "untimed") == 0;
	IP4_ADDR(&addr, 10, 0, 2, 15);
	IP4_ADDR(&mask, 255, 255, 255, 0);
	IP4_ADDR(&host, 10, 0, 2, 2);
	lwip_init();
	if (!netif_add(&nif, &addr, &mask, &host, NULL, vnet_init, ethernet_input))
		return 1;
	netif_set_default(&nif);
	netif_set_up(&nif);
	for (cmd = argv[2]; *cmd; cmd++) {
		memset(&run, 0, sizeof(run));
		run.cmd = *cmd;
		run.count = strtoull(argv[3], NULL, 0);
		if (!measure(&nif, &host, (u16_t)atoi(argv[1]))) {
			printf("throughput: %c fails after %lu bytes in, %lu out\n", *cmd,
			       (unsigned long)run.in, (unsigned long)run.out);
			return 1;
		}
	}
	return 0;
}
