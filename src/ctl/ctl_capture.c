// SPDX-License-Identifier: BSD-3-Clause
/*
 * capture: records from the control connection into a pcap file. The proxy waits for nobody:
 * what this process is too slow for is dropped there, and counted.
 */
#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/le.h"
#include "ctl.h"

/* A record (docs/control.md, "Capture"), little-endian: */
#define REC_LEN	    32u
#define REC_TYPE    0  /* u32: 0 packet, 1 the end */
#define REC_CAPTURE 4  /* u32: bytes behind the record */
#define REC_FULL    8  /* u32: bytes that the packet had */
#define REC_TIME    16 /* u64: ns since 1970 */
#define REC_DROPS   24 /* u64: packets dropped up to now */
#define REC_MAX	    65536u

struct capture {
	pcap_t *pcap;
	pcap_dumper_t *dump;
	const char *file;
	uint64_t packets, bytes, drops;
	bool over;
	bool made; /* packets are put together: docs/control.md */
	int err;   /* of the file */
};

static volatile sig_atomic_t stop;

static void on_signal(int num)
{
	(void)num;
	stop++;
}

static void catch (void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* a file that grows over the limit is an error like any other */
	signal(SIGXFSZ, SIG_IGN);
}

/* libpcap says nothing of a write that failed: its FILE does. */
static bool file_good(struct capture *cap)
{
	if (!ferror(pcap_dump_file(cap->dump)))
		return true;
	if (!cap->err)
		cap->err = errno ? errno : EIO;
	return false;
}

static bool flush(struct capture *cap)
{
	errno = 0;
	if (pcap_dump_flush(cap->dump) && !cap->err)
		cap->err = errno ? errno : EIO;
	return !cap->err && file_good(cap);
}

static bool put(struct capture *cap, const uint8_t *rec, const uint8_t *data)
{
	uint64_t ns = amp_le64(rec + REC_TIME);
	struct pcap_pkthdr h = {.caplen = amp_le32(rec + REC_CAPTURE),
				.len = amp_le32(rec + REC_FULL)};

	h.ts.tv_sec = (time_t)(ns / 1000000000u);
	h.ts.tv_usec = (suseconds_t)(ns % 1000000000u); /* nanoseconds: the file says so */
	errno = 0;
	pcap_dump((u_char *)cap->dump, &h, data);
	cap->packets++;
	cap->bytes += h.caplen;
	return file_good(cap);
}

/* Every whole record that is there. False: no more is wanted, or nothing good. */
static bool take(struct capture *cap, struct ctl_conn *conn)
{
	size_t at = 0;
	bool good = true;

	while (good && !cap->over && conn->len - at >= REC_LEN) {
		const uint8_t *rec = (const uint8_t *)conn->buf + at;
		uint32_t len = amp_le32(rec + REC_CAPTURE);

		if (amp_le32(rec + REC_TYPE) > 1 || len > REC_MAX) {
			ctl_complain(EPROTO, "the proxy sends what is no packet");
			return false;
		}
		if (conn->len - at < REC_LEN + len)
			break;
		cap->drops = amp_le64(rec + REC_DROPS);
		if (amp_le32(rec + REC_TYPE) == 1)
			cap->over = true;
		else
			good = put(cap, rec, rec + REC_LEN);
		at += REC_LEN + len;
	}
	ctl_used(conn, at);
	return good;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/*
 * A signal from here on ends the wait, too: one that came between a look at `stop` and poll() would
 * be noticed with the next packet, which may never come. seen: what was looked at.
 */
static bool wait_readable(int fd, sig_atomic_t seen)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	sigset_t ours, before;
	int n = 0;

	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigprocmask(SIG_BLOCK, &ours, &before);
	if (stop == seen)
		n = ppoll(&p, 1, NULL, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return n > 0;
}

/* Until the end record, an error, or a second signal. 0 or EXIT_RUN. */
static int run(struct capture *cap, struct ctl_conn *conn)
{
	bool told = false;

	for (;;) {
		sig_atomic_t seen = stop;

		if (!take(cap, conn))
			return EXIT_RUN;
		if (cap->over)
			return 0;
		if (seen && !told) {
			shutdown(conn->fd, SHUT_WR); /* the rest, and the end record */
			told = true;
		}
		if (seen > 1)
			return 0;
		/* nothing more at the moment: what there is shall be in the file */
		if (!readable(conn->fd) && !flush(cap))
			return EXIT_RUN;
		if (!wait_readable(conn->fd, seen))
			continue; /* a signal */
		if (!ctl_more(conn, conn->len + 1))
			return EXIT_RUN; /* said */
	}
}

static int finish(struct capture *cap, const struct ctl_options *opt, int r)
{
	FILE *to = strcmp(cap->file, "-") == 0 ? stderr : stdout;

	if (!cap->err && !flush(cap))
		r = EXIT_RUN;
	if (cap->err)
		r = ctl_complain(cap->err, "%s: %s: the capture ends here", cap->file,
				 strerror(cap->err));
	if (opt->json)
		fprintf(to,
			"{\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"drops\":%" PRIu64
			",\"made\":%s}\n",
			cap->packets, cap->bytes, cap->drops, cap->made ? "true" : "false");
	else
		fprintf(to,
			"%" PRIu64 " packets, %" PRIu64 " bytes; %" PRIu64
			" dropped by the proxy\n",
			cap->packets, cap->bytes, cap->drops);
	pcap_dump_close(cap->dump);
	return r;
}

static int open_file(struct capture *cap, const cJSON *result)
{
	const cJSON *type = cJSON_GetObjectItemCaseSensitive(result, "link_type");
	const cJSON *snap = cJSON_GetObjectItemCaseSensitive(result, "snap");

	if (!cJSON_IsNumber(type) || !cJSON_IsNumber(snap))
		return ctl_complain(EPROTO, "the answer is none that is known");
	cap->pcap = pcap_open_dead_with_tstamp_precision(
		(int)type->valuedouble, (int)snap->valuedouble, PCAP_TSTAMP_PRECISION_NANO);
	if (!cap->pcap)
		return ctl_complain(ENOMEM, "no memory");
	cap->made = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(result, "made"));
	umask(077); /* what guests say is for nobody else */
	errno = 0;
	cap->dump = pcap_dump_open(cap->pcap, cap->file);
	return cap->dump ? 0 : ctl_complain(errno ? errno : EIO, "%s", pcap_geterr(cap->pcap));
}

int ctl_capture(struct ctl_conn *conn, const struct ctl_options *opt)
{
	struct capture cap = {.file = opt->file};
	cJSON *req = cJSON_CreateObject(), *result;
	int r;

	if (opt->link)
		cJSON_AddStringToObject(req, "link", opt->link);
	if (opt->count)
		cJSON_AddNumberToObject(req, "count", opt->count);
	if (opt->snap)
		cJSON_AddNumberToObject(req, "snap", opt->snap);
	catch ();
	result = ctl_ask(conn, "capture", req);
	if (!result)
		return EXIT_RUN;
	r = open_file(&cap, result);
	cJSON_Delete(result);
	if (!r) {
		if (!opt->json)
			fprintf(stderr, "ampsockctl: capturing to %s%s\n", opt->file,
				cap.made ? " (of a link that has no packets they are made: "
					   "ampsockctl(1))"
					 : "");
		r = finish(&cap, opt, run(&cap, conn));
	}
	if (cap.pcap)
		pcap_close(cap.pcap);
	return r;
}
