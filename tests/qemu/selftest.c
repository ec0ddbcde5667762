/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Firmware that tests the board itself, no link needed: clock, timer interrupt, sleeping,
 * receive interrupt, errno, and one virtio device (entropy) through the same transport
 * and ring that vsock uses. Prints what tests/qemu/boards reads.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../../boards/board.h"
#include "../../src/port/port.h"
#include "../../src/virtio/mmio.h"

#define VIRTIO_ID_RNG 4u
#define RNG_NUM	      4u

extern char __tls_end[];

static struct amp_mmio mmio;
static unsigned mmio_irq;
static volatile unsigned interrupts;
static uint8_t line[64];
static size_t line_len;

void board_prepare(void);
bool board_link_irq(unsigned irq);
void board_console_irq(void);
int main(int argc, char **argv);

/* In place of boards/link.c and console.c's receiver. */
bool board_link_irq(unsigned irq)
{
	if (irq != mmio_irq)
		return false;
	interrupts++;
	return amp_mmio_isr(&mmio);
}

void board_prepare(void)
{
	board_stdio();
}

static void check(const char *what, int good)
{
	printf("%s %s\n", good ? "good" : "BAD", what);
}

#ifdef __PICOLIBC__
/* A thread-local errno must lie in the program's one block of such data. */
static int errno_is_ours(void)
{
	return (char *)&errno >= __tls_base && (char *)&errno < __tls_end;
}
#else
static int errno_is_ours(void)
{
	return 1;
}
#endif

static void test_clock(void)
{
	uint32_t sleeps = amp_baremetal_sleeps();
	uint32_t start = amp_port_now_ms();
	int ret = amp_port_wait(200);
	uint32_t took = amp_port_now_ms() - start;

	/* An emulator on a busy machine wakes late, never early. */
	check("timer", ret == -ETIMEDOUT && took >= 199 && took < 5000);
	check("sleeps",
	      amp_baremetal_sleeps() - sleeps <= 5 && amp_baremetal_sleeps() != sleeps);
	check("look only", amp_port_wait(0) == -ETIMEDOUT);
	amp_port_wake();
	check("wake is kept", amp_port_wait(-1) == 0);
	errno = 0;
	errno = ETIMEDOUT;
	check("errno", errno == ETIMEDOUT && errno_is_ours());
}

static void test_memcpy(void)
{
	static uint8_t from[96], to[96];
	unsigned a, b, n, i;
	int good = 1;

	for (i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + 1);
	for (a = 0; a < 9; a++) {
		for (b = 0; b < 9; b++) {
			for (n = 0; n <= 80; n++) {
				memset(to, 0, sizeof(to));
				memcpy(to + a, from + b, n);
				good &= memcmp(to + a, from + b, n) == 0 && to[a + n] == 0;
			}
		}
	}
	check("memcpy", good);
}

static int find_rng(void)
{
	unsigned i;
	int err = -ENODEV;

	for (i = 0; i < board.mmio_cnt; i++) {
		err = amp_mmio_init(&mmio, board.mmio_base + i * board.mmio_stride);
		if (err == -ENODEV)
			continue;
		mmio_irq = board.mmio_irq + i;
		break;
	}
	return err;
}

/* The second and third only come if the first interrupt was acknowledged everywhere. */
static void test_request(struct amp_vq *vq)
{
	static uint8_t entropy[64];
	struct amp_iov iov = {entropy, sizeof(entropy)};
	uint32_t len = 0, i, sleeps = amp_baremetal_sleeps();
	uint16_t id;
	int woken, any = 0;

	interrupts = 0;
	check("post", amp_vq_post(vq, &iov, 0, 1, NULL) >= 0);
	check("nothing before its time", !amp_vq_arm(vq));
	if (amp_vq_kick_due(vq))
		mmio.vd.ops->notify(&mmio.vd, 0);
	/* one interrupt leaves one mark, and the first wait after it takes it, asleep or not */
	do
		woken = amp_port_wait(5000);
	while (interrupts == 0 && woken == 0);
	check("woken by interrupt", interrupts > 0 && woken == 0);
	check("asleep until then", amp_baremetal_sleeps() - sleeps < 5);
	check("buffer came back",
	      amp_vq_reap(vq, &id, &len) == 1 && len > 0 && len <= sizeof(entropy));
	for (i = 0; i < len && i < sizeof(entropy); i++)
		any |= entropy[i];
	check("entropy", any != 0);
}

static void test_rng(void)
{
	static _Alignas(16) uint8_t ring[512];
	static uint16_t state[RNG_NUM];
	size_t avail, used;
	struct amp_vq vq;
	struct amp_vq_setup setup = {.role = AMP_VQ_DRIVER, .dir = AMP_VQ_IN, .num = RNG_NUM};
	uint64_t features;
	int err, round;

	(void)amp_vq_layout(RNG_NUM, &avail, &used);
	setup.desc = ring;
	setup.avail = ring + avail;
	setup.used = ring + used;
	setup.state = state;
	err = mmio.vd.ops->probe(&mmio.vd, AMP_VIRTIO_ID_VSOCK, &features);
	check("another device's id", err == -ENODEV);
	err = mmio.vd.ops->probe(&mmio.vd, VIRTIO_ID_RNG, &features);
	check("probe", err == 0 && (features & AMP_VIRTIO_F_VERSION_1));
	check("features", mmio.vd.ops->accept(&mmio.vd, AMP_VIRTIO_F_VERSION_1) == 0);
	check("queue", mmio.vd.ops->queue_max(&mmio.vd, 0) >= RNG_NUM &&
			       mmio.vd.ops->queue_max(&mmio.vd, 7) == 0);
	board.intc->enable(mmio_irq);
	check("ring", amp_vq_init(&vq, &setup) == 0);
	check("queue set", mmio.vd.ops->queue_set(&mmio.vd, 0, &vq) == 0);
	check("run", mmio.vd.ops->run(&mmio.vd) == 0);
	for (round = 0; round < 3; round++)
		test_request(&vq);
	check("no event", mmio.vd.ops->events(&mmio.vd) == 0);
	mmio.vd.ops->reset(&mmio.vd);
	check("queue is free after reset", mmio.vd.ops->queue_set(&mmio.vd, 0, &vq) == 0);
	mmio.vd.ops->reset(&mmio.vd);
}

/* A line back for each line, with the time: the other end has a clock of its own. */
static void test_against_another_clock(void)
{
	int c, lines;

	for (lines = 0; lines < 3; lines++) {
		printf("now %lu\n", (unsigned long)amp_port_now_ms());
		while ((c = getchar()) != '\n')
			;
	}
}

static void test_input(void)
{
	int c;

	printf("type\n");
	while ((c = getchar()) != '\n' && line_len < sizeof(line))
		line[line_len++] = (uint8_t)c;
	check("input by interrupt", line_len == 5 && memcmp(line, "hello", 5) == 0);
}

int main(int argc, char **argv)
{
	int err;

	printf("hello from %s, %d argument(s)\n", argv[0], argc - 1);
	if (argc > 1 && strcmp(argv[1], "fault") == 0)
		((void (*)(void))(uintptr_t)0x30000000)(); /* nothing to execute there */
	test_clock();
	test_memcpy();
	err = find_rng();
	if (err == 0)
		test_rng();
	else
		printf("slot: %d %s\n", -err,
		       err == -ENOTSUP ? amp_mmio_why(&mmio) : "all empty");
	if (argc > 1 && strcmp(argv[1], "input") == 0)
		test_input();
	if (argc > 1 && strcmp(argv[1], "clock") == 0)
		test_against_another_clock();
	printf("done\n");
	return argc > 2 ? 42 : 0;
}
