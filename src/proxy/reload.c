// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reading the configuration again, up to the point of no return. Theory of operation: reload.h.
 *
 * #syscalls read fstat newfstatat lseek fcntl.flags close
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../wire/offload.h"
#include "bell.h"
#include "helper.h"
#include "listen.h"
#include "options.h"
#include "reload_inner.h"

static struct amp_config *running;
static struct amp_reload_counts counts;

void amp_reload_init(struct amp_config *conf)
{
	running = conf;
}

const struct amp_reload_counts *amp_reload_counts(void)
{
	return &counts;
}

const struct amp_config *amp_config_running(void)
{
	return running;
}

void amp_reload_say_ready(void)
{
	const struct amp_link_conf *c;
	char text[80];
	unsigned n = 0;
	int len;

	TAILQ_FOREACH(c, &running->links, entry)
	n++;
	len = snprintf(text, sizeof(text), "Serving %u link%s", n, n == 1 ? "" : "s");
	if (counts.last_failed)
		snprintf(text + len, sizeof(text) - (size_t)len,
			 "; %u of the last reload failed: see the log", counts.last_failed);
	amp_helper_notify(AMP_HELPER_READY, text);
}

struct amp_config *amp_reload_running(void)
{
	return running;
}

/* ---- reading ---- */

static int read_fresh(struct amp_reload *rl)
{
	int fd = amp_helper_config(), r;
	FILE *in;

	if (fd < 0 && !running->file)
		fputs("there is no file to read again: expected --config FILE at the start\n",
		      rl->err);
	else if (fd < 0)
		fprintf(rl->err, "%s: cannot be read: %s\n", running->file, strerror(-fd));
	if (fd < 0)
		return fd;
	in = fdopen(fd, "r");
	if (!in) {
		close(fd);
		return -ENOMEM;
	}
	r = amp_options_again(in, &rl->fresh->conf, rl->err);
	fclose(in);
	return r;
}

/* ---- twins ---- */

static struct amp_link_conf *link_conf(const struct amp_config *conf, const char *name)
{
	struct amp_link_conf *c;

	TAILQ_FOREACH(c, &conf->links, entry)
	{
		if (strcmp(c->name, name) == 0)
			break;
	}
	return c;
}

static void pair_allow(struct amp_link_conf *c, struct amp_link_conf *f)
{
	struct amp_rule *a, *b;

	TAILQ_FOREACH(b, &f->allow, entry)
	{
		TAILQ_FOREACH(a, &c->allow, entry)
		{
			if (!a->twin && amp_rule_same(a, b))
				break;
		}
		b->twin = a;
		if (a)
			a->twin = b;
	}
}

/* vsock-mux */
static bool same_ranges(const struct amp_forward *a, const struct amp_forward *b)
{
	return a->range_cnt == b->range_cnt &&
	       memcmp(a->range, b->range, a->range_cnt * sizeof(a->range[0])) == 0;
}

/* expose: a service is there once, and stays the same one when it leads to another target. */
static void pair_forwards(struct amp_forwards *c, struct amp_forwards *f, bool expose)
{
	struct amp_forward *a, *b;

	TAILQ_FOREACH(b, f, entry)
	{
		TAILQ_FOREACH(a, c, entry)
		{
			if (!a->twin && (expose || amp_target_same(&a->target, &b->target)) &&
			    amp_service_same(&a->service, &b->service) && same_ranges(a, b))
				break;
		}
		b->twin = a;
		if (a)
			a->twin = b;
	}
}

static void unpair(struct amp_config *conf)
{
	struct amp_link_conf *c;
	struct amp_forward *fwd;
	struct amp_rule *r;

	TAILQ_FOREACH(c, &conf->links, entry)
	{
		c->twin = NULL;
		TAILQ_FOREACH(r, &c->allow, entry)
		r->twin = NULL;
		TAILQ_FOREACH(fwd, &c->publish, entry)
		fwd->twin = NULL;
		TAILQ_FOREACH(fwd, &c->expose, entry)
		fwd->twin = NULL;
	}
}

static bool has_service(const struct amp_forwards *list, const struct amp_forward *fwd)
{
	const struct amp_forward *f;

	TAILQ_FOREACH(f, list, entry)
	{
		if (amp_service_same(&f->service, &fwd->service))
			return true;
	}
	return false;
}

static bool has_services(const struct amp_forwards *a, const struct amp_forwards *b)
{
	const struct amp_forward *f;

	TAILQ_FOREACH(f, b, entry)
	{
		if (f->service.kind == AMP_SERVICE_RPMSG && !has_service(a, f))
			return false;
	}
	return true;
}

/* What an rpmsg link announces is settled when it starts. */
static bool same_services(const struct amp_link_conf *a, const struct amp_link_conf *b)
{
	return has_services(&a->expose, &b->expose) && has_services(&b->expose, &a->expose);
}

static void pair(struct amp_reload *rl)
{
	struct amp_link_conf *c, *f;

	unpair(running);
	TAILQ_FOREACH(f, &rl->fresh->conf.links, entry)
	{
		c = link_conf(running, f->name);
		if (!c || !amp_link_conf_same(c, f) || !same_services(c, f))
			continue;
		f->twin = c;
		c->twin = f;
		pair_allow(c, f);
		pair_forwards(&c->publish, &f->publish, false);
		pair_forwards(&c->expose, &f->expose, true);
	}
}

/* ---- what can fail ---- */

__attribute__((format(printf, 3, 4))) static int no(struct amp_reload *rl, int err,
						    const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(rl->err, fmt, ap);
	va_end(ap);
	fputc('\n', rl->err);
	return err;
}

/* A link of ours that ends has the path: it will be handed over. */
static bool path_comes_free(const struct amp_link *l)
{
	const struct amp_link *o;

	TAILQ_FOREACH(o, amp_links_all(), entry)
	{
		if (!o->conf->twin && o->ops->listen_kind == l->ops->listen_kind &&
		    strcmp(o->conf->path, l->conf->path) == 0)
			return true;
	}
	return false;
}

static int prepare_link(struct amp_reload *rl, struct amp_link_conf *f)
{
	struct amp_target path = amp_listen_path(f->path);
	struct amp_link *l;
	int fd;

	/* descriptors come with the process: a number in a new file is somebody else's by now */
	if (!amp_bell_had(&f->shm.bell))
		return no(
			rl, -EINVAL,
			"%s: link %s: an eventfd doorbell can only be had at the start, which "
			"inherits its descriptors: restart the proxy",
			f->where, f->name);
	l = amp_link_new(f);
	if (!l)
		return no(rl, -ENOMEM,
			  "%s: link %s: no memory, or more links than one process serves (256)",
			  f->where, f->name);
	TAILQ_INSERT_TAIL(&rl->added, l, entry);
	if (!l->ops->listen_kind || path_comes_free(l))
		return 0;
	fd = amp_helper_listen_unix((enum amp_helper_kind)l->ops->listen_kind, f->path);
	if (fd < 0)
		return no(rl, fd, "%s: link %s: cannot listen on %s: %s", f->where, f->name,
			  f->path, strerror(-fd));
	amp_listen_hold(l->ops->listen_kind, &path, fd);
	return 0;
}

/* A rule of ours that ends has the address: it will be handed over. */
static bool claim(struct amp_reload *rl, struct amp_forward *want, int *err)
{
	struct amp_link_conf *c;
	struct amp_forward *fwd;

	TAILQ_FOREACH(c, &running->links, entry)
	{
		TAILQ_FOREACH(fwd, &c->publish, entry)
		{
			bool stays = fwd->runtime && c->twin;

			if (fwd->twin || !(stays ? amp_target_overlap : amp_target_same)(
						 &fwd->target, &want->target))
				continue;
			if (!stays) {
				fwd->twin = want;
				return true;
			}
			*err = no(rl, -EADDRINUSE,
				  "%s: publish %s: `%s` was published at run time and has the "
				  "address, or a part of it: delete it first",
				  want->where, want->text, fwd->text);
			return false;
		}
	}
	return false;
}

/*
 * Rules of ours that end and listen at the wildcard, or at a part of it: as long as one does nobody else
 * can, unless it shares. How many there are, and of them in *shared those that share from now on, or not
 * any more. (A UDP socket of the service manager's does not, and its port is not free when we close
 * it: it is in the way.)
 */
static unsigned share_overlaps(const struct amp_forward *want, bool on, unsigned *shared)
{
	const struct amp_link_conf *c;
	const struct amp_forward *fwd;
	unsigned n = 0;

	*shared = 0;
	TAILQ_FOREACH(c, &running->links, entry)
	{
		TAILQ_FOREACH(fwd, &c->publish, entry)
		{
			bool can;

			if (fwd->twin || (fwd->runtime && c->twin) ||
			    want->target.kind == AMP_TARGET_UNIX ||
			    !amp_target_overlap(&fwd->target, &want->target))
				continue;
			can = amp_listen_share(&fwd->target, on);
			n += can || want->target.kind == AMP_TARGET_TCP;
			*shared += can;
		}
	}
	return n;
}

/*
 * The new one listens before the old one ends: if somebody else has a part of the address, nothing
 * has changed. Held, or nothing is, as it can be opened only when the old one, which is the service
 * manager's, has ended. -errno, not said.
 */
static int open_target(const struct amp_link_conf *f, const struct amp_forward *fwd)
{
	unsigned shared, n = share_overlaps(fwd, true, &shared);
	bool later = shared < n;
	int fd = -1;

	if (!n)
		fd = amp_target_open(&fwd->target, f->name, &fwd->service);
	else if (!later)
		fd = amp_target_beside(&fwd->target, f->name);
	if (n)
		share_overlaps(fwd, false, &shared);
	if (fd >= 0)
		amp_listen_hold(0, &fwd->target, fd);
	return fd >= 0 || later ? 0 : fd;
}

static int prepare_publish(struct amp_reload *rl, const struct amp_link_conf *f,
			   struct amp_forward *fwd)
{
	int err = 0;

	if (fwd->twin || claim(rl, fwd, &err) || err)
		return err;
	err = open_target(f, fwd);
	return err ? no(rl, err, "%s: link %s: cannot publish %s: %s", fwd->where, f->name,
			fwd->text, amp_listen_why(&fwd->target, err))
		   : 0;
}

static int prepare_port(struct amp_reload *rl, const struct amp_link_conf *f, uint32_t port)
{
	char path[AMP_SUN_PATH];
	struct amp_target t;
	int fd = -ENAMETOOLONG;

	if (snprintf(path, sizeof(path), "%s_%" PRIu32, f->path, port) < (int)sizeof(path))
		fd = amp_helper_listen_unix(AMP_HELPER_PORT, path);
	if (fd < 0)
		return no(rl, fd, "%s: link %s: cannot listen on %s: %s", f->where, f->name,
			  path, strerror(-fd));
	t = amp_listen_path(path);
	amp_listen_hold(AMP_HELPER_PORT, &t, fd);
	return 0;
}

/* The link of the new file, if any, that has the port for the other kind of connection. */
static const struct amp_link_conf *other_kind(const struct amp_reload *rl, uint32_t port,
					      bool message)
{
	const struct amp_link_conf *o;
	const struct amp_forward *fwd;

	TAILQ_FOREACH(o, &rl->fresh->conf.links, entry)
	{
		if (o->type != AMP_LINK_VSOCK)
			continue;
		TAILQ_FOREACH(fwd, &o->expose, entry)
		{
			if (fwd->service.port == port &&
			    (fwd->target.kind == AMP_TARGET_UDP) != message)
				return o;
		}
	}
	return NULL;
}

static int prepare_vsock(struct amp_reload *rl, const struct amp_link_conf *f, uint32_t port,
			 bool message, const char *where)
{
	const struct amp_link_conf *other = other_kind(rl, port, message);
	int r;

	if (other)
		return no(rl, -EADDRINUSE,
			  "%s: link %s: AF_VSOCK port %" PRIu32
			  " is link %s's for another kind "
			  "of target: expected one kind for a port that links share",
			  where, f->name, port, other->name);
	r = amp_vsock_hold(f->name, port, message);
	return r ? no(rl, r, "%s: link %s: cannot listen on AF_VSOCK port %" PRIu32 ": %s",
		      where, f->name, port, strerror(-r))
		 : 0;
}

/* vsock: likewise, and of the kernel's. */
static int prepare_vsocks(struct amp_reload *rl, const struct amp_link_conf *f)
{
	const struct amp_forward *fwd;
	int r = 0, err;

	if (f->type != AMP_LINK_VSOCK)
		return 0;
	if (!f->twin)
		r = prepare_vsock(rl, f, AMP_OFF_PORT, false, f->where);
	TAILQ_FOREACH(fwd, &f->expose, entry)
	{
		err = prepare_vsock(rl, f, fwd->service.port,
				    fwd->target.kind == AMP_TARGET_UDP, fwd->where);
		r = r ? r : err;
	}
	return r;
}

/* A port of a link of ours that ends is free when it has ended, not before. */
static bool port_comes_free(const struct amp_link_conf *f, const struct amp_forward *fwd)
{
	const struct amp_link_conf *c;

	TAILQ_FOREACH(c, &running->links, entry)
	{
		if (!c->twin && c->type == f->type && strcmp(c->path, f->path) == 0)
			return !fwd || has_service(&c->expose, fwd);
	}
	return false;
}

/* vsock-unix: a socket for each port that the guest may use. */
static int prepare_ports(struct amp_reload *rl, const struct amp_link_conf *f)
{
	const struct amp_forward *fwd;
	int r = 0;

	if (f->type != AMP_LINK_VSOCK_UNIX)
		return 0;
	if (!f->twin && !port_comes_free(f, NULL))
		r = prepare_port(rl, f, AMP_OFF_PORT);
	TAILQ_FOREACH(fwd, &f->expose, entry)
	{
		if (!fwd->twin && !port_comes_free(f, fwd) && !r)
			r = prepare_port(rl, f, fwd->service.port);
	}
	return r;
}

/* All of it, so that all that is wrong is said. */
static int prepare(struct amp_reload *rl)
{
	struct amp_link_conf *f;
	struct amp_forward *fwd;
	int r = 0, err;

	TAILQ_FOREACH(f, &rl->fresh->conf.links, entry)
	{
		err = f->twin ? 0 : prepare_link(rl, f);
		r = r ? r : err;
		err = prepare_ports(rl, f);
		r = r ? r : err;
		err = prepare_vsocks(rl, f);
		r = r ? r : err;
		TAILQ_FOREACH(fwd, &f->publish, entry)
		{
			err = prepare_publish(rl, f, fwd);
			r = r ? r : err;
		}
	}
	return r;
}

static void undo(struct amp_reload *rl)
{
	struct amp_link *l;

	while ((l = TAILQ_FIRST(&rl->added)) != NULL) {
		TAILQ_REMOVE(&rl->added, l, entry);
		amp_reload_reap(l, NULL);
	}
	amp_listen_let_go();
	amp_vsock_let_go();
}

/* ---- the whole ---- */

static void free_old(struct amp_grave *grave)
{
	struct amp_old_config *old = amp_container_of(grave, struct amp_old_config, grave);

	amp_config_free(&old->conf);
	free(old);
}

static int reload(struct amp_reload *rl)
{
	int r = read_fresh(rl);

	if (r)
		return r;
	pair(rl);
	r = prepare(rl);
	if (!r) {
		r = amp_helper_config_done(true);
		if (r)
			no(rl, r, "the helper process does not take it: %s", strerror(-r));
	}
	if (r) {
		undo(rl);
		return r;
	}
	amp_reload_commit(rl);
	counts.last_failed = rl->failed;
	counts.failed += rl->failed;
	return rl->failed ? -EIO : 0;
}

/* Line by line. */
static void say_refused(char *text)
{
	amp_log(AMP_LOG_ERROR, "reload: nothing has changed:");
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		amp_log(AMP_LOG_ERROR, "reload: %s", line);
}

int amp_reload(char *why, size_t len)
{
	struct amp_reload rl = {.added = TAILQ_HEAD_INITIALIZER(rl.added)};
	char *text = NULL;
	bool in_force = false;
	size_t text_len;
	int r = -ENOMEM;

	why[0] = 0;
	rl.err = open_memstream(&text, &text_len);
	rl.fresh = calloc(1, sizeof(*rl.fresh));
	if (!rl.err || !rl.fresh) {
		snprintf(why, len, "no memory");
		goto out;
	}
	amp_config_init(&rl.fresh->conf);
	amp_helper_notify(AMP_HELPER_RELOADING, NULL);
	r = reload(&rl);
	in_force = !r || rl.failed;
	if (!in_force)
		(void)amp_helper_config_done(false);
	amp_reload_say_ready();
	amp_bury(&rl.fresh->grave, free_old);
	rl.fresh = NULL;
out:
	if (rl.err)
		fclose(rl.err);
	counts.cnt++;
	counts.refused += !in_force;
	if (!r)
		snprintf(why, len, "%s", rl.restart);
	if (r && text) {
		snprintf(why, len, "%s", text);
		if (!in_force)
			say_refused(text);
	}
	free(text);
	free(rl.fresh);
	return r;
}
