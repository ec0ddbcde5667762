/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linux's rpmsg character devices, where the kernel is the rpmsg host of a remote.
 *
 *	/dev/rpmsg_ctrlN   one for each remote; RPMSG_CREATE_EPT_IOCTL makes an endpoint with a
 *	                   source and a destination address, as a device of its own
 *	/dev/rpmsgN        an endpoint: a read is a message (who sent it is not told), a write
 *	                   is one to the destination. poll() never says POLLOUT, and a write
 *	                   without a free buffer is EAGAIN (ENOMEM in older kernels).
 *	                   RPMSG_DESTROY_EPT_IOCTL ends it
 *	/sys/bus/rpmsg/    what the remote has announced: <bus>.<name>.<src>.<dst>
 *	/sys/class/rpmsg/  the devices: name, src, dst of each endpoint
 *
 * An endpoint's device outlives the process that made it. Ours are called
 * "amp:<control device>:<number>", and those of an earlier life are swept away.
 *
 * When the remote goes, the kernel takes all of them away, but an open descriptor keeps a
 * device's number taken: as long as somebody has /dev/rpmsg_ctrl0 open, the remote comes back as
 * /dev/rpmsg_ctrl1. So it is opened for each endpoint and closed again. And a descriptor of a
 * device that has gone, or is on its way, must not be asked for anything:
 * RPMSG_DESTROY_EPT_IOCTL would take the device away a second time, RPMSG_CREATE_EPT_IOCTL hang
 * one below nothing (Linux 6.1 checks neither: it oopses). One that has gone says POLLERR.
 *
 * All of this is done by the helper (helper.h); amp_rchar_destroy() by whoever has the
 * endpoint, the worker.
 */
#ifndef AMP_PROXY_RCHAR_H
#define AMP_PROXY_RCHAR_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct amp_rchar {
	const char *path; /* of the control device, or of a link to it */
	char real[256];	  /* of the device itself: its numbers change when remotes restart */
	char sysfs[256];  /* usually /sys */
	char bus[64];	  /* "virtio0.": how its remote's channels begin */
	dev_t dev;	  /* of the node */
	ino_t ino;
	ino_t sys_ino;	 /* of the device in sysfs, where it is gone first */
	unsigned next;	 /* number of the next endpoint */
	unsigned likely; /* which rpmsgN it may be */
	unsigned max;	 /* endpoints of ours that may be there */
	unsigned made;	 /* that are, at most: what ends one does not tell us */
};

/* Finds the control device and its remote; sweeps. 0 or -errno. */
int amp_rchar_find(struct amp_rchar *rc);
/* Is it still the same device? A remote that restarts has another. */
bool amp_rchar_stands(const struct amp_rchar *rc);

/*
 * A new endpoint's descriptor, non-blocking; -errno. -ENOBUFS: as many as may be are there, or more
 * devices than are looked at.
 */
int amp_rchar_create(struct amp_rchar *rc, uint32_t src, uint32_t dst);
/* The endpoint goes, and the descriptor. gone: the remote has, and the kernel sees to the first. */
void amp_rchar_destroy(int fd, bool gone);

/*
 * Each service of that name that the remote has announced. A remote announces as many as it
 * likes: those of other names cost a look at their device's name, and no file is opened.
 */
struct amp_rchar_ops {
	/* Does anybody want a service whose name begins text, up to a dot? As the kernel
	 * names devices: `!` for `/`. */
	bool (*wants)(void *ctx, const char *text);
	void (*heard)(void *ctx, const char *name, uint32_t addr);
};

/*
 * The channels of the remote, piece by piece: entries without the bus that they begin with, each
 * with its NUL, as many as dst takes; first: from the first. Bytes written. scan->dir is not NULL
 * while there is more.
 */
struct amp_rchar_scan {
	DIR *dir;
	unsigned cnt;
};
size_t amp_rchar_scan(const struct amp_rchar *rc, struct amp_rchar_scan *scan, bool first,
		      char *dst, size_t len);
void amp_rchar_scan_end(struct amp_rchar_scan *scan);
/* Name and address of such an entry. 0 or -errno. */
int amp_rchar_attr(const struct amp_rchar *rc, const char *entry, char *name, size_t len,
		   uint32_t *addr);

#endif /* AMP_PROXY_RCHAR_H */
