// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close connect getsockname setsockopt socket.inet */
/*
 * Offloaded UDP: a socket's life, and what may be done with it. offload_udp.h has the theory.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"
#include "offload_udp.h"

static void udp_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_udp, o.grave));
}

static void udp_gone(struct amp_udp *u)
{
	if (u->dead)
		return;
	u->dead = true;
	amp_work_cancel(&u->work);
	if (u->o.virt) {
		/* the socket is the rule's: the next one finds it as this one did */
		amp_watch_stop(&u->watch);
		amp_off_groups_leave(&u->o, u->o.virt->udp_fd);
		amp_off_opts_back(u->o.virt->udp_fd, &u->o.virt->udp_opts);
		u->o.virt->udp_user = NULL;
	} else {
		amp_watch_close(&u->watch);
		amp_off_groups_leave(&u->o, -1);
	}
	amp_buf_clear(&u->spill);
	amp_osock_del(&u->o);
	amp_bury(&u->o.grave, udp_free);
}

void amp_udp_kill(struct amp_udp *u)
{
	if (u->dead)
		return;
	u->end->ops->reset(u->end);
	udp_gone(u);
}

static void udp_kill(struct amp_osock *o)
{
	amp_udp_kill((struct amp_udp *)o);
}

static int udp_fd(const struct amp_osock *o)
{
	return ((const struct amp_udp *)o)->watch.fd;
}

/* Of a group that it may not be in any more the guest is told; the socket is as good as before. */
static void leave_forbidden(struct amp_udp *u)
{
	struct sockaddr_storage group;

	while (!amp_off_groups_allowed(&u->o, u->watch.fd, &group)) {
		char text[AMP_ADDR_TEXT];

		u->o.ses->off->link->stats.cut++;
		amp_udp_error(u, EACCES, (struct sockaddr *)&group);
		amp_log(AMP_LOG_INFO,
			"link %s: left the multicast group %s: no rule has it now",
			u->o.ses->off->link->conf->name,
			amp_sockaddr_text((struct sockaddr *)&group, text));
	}
}

static bool udp_allowed(struct amp_osock *o)
{
	struct amp_udp *u = (struct amp_udp *)o;
	struct amp_rule **by = &o->rule[AMP_DIR_IN];
	struct sockaddr_storage ss;

	u->good_until_ms = u->good_in_until_ms = 0;
	leave_forbidden(u);
	if (*by && (*by)->gone) {
		amp_off_to_sa(&u->local, &ss);
		*by = amp_policy_find_in(o->ses->off, AMP_PROTO_UDP, (struct sockaddr *)&ss,
					 false);
		if (!*by)
			return false;
	}
	return !u->connected || amp_udp_heard_from(u, &u->peer) ||
	       amp_policy_find(o->ses->off, AMP_DIR_OUT, AMP_PROTO_UDP,
			       (const struct sockaddr *)&u->peer);
}

static const struct amp_osock_ops udp_ops = {
	.kill = udp_kill,
	.fd = udp_fd,
	.allowed = udp_allowed,
};

/* ---- what the loop and the carrier say ---- */

static void udp_ready(struct amp_watch *w, uint32_t events)
{
	struct amp_udp *u = amp_container_of(w, struct amp_udp, watch);

	if (events & EPOLLERR)
		u->errors = true;
	if (events & EPOLLIN)
		u->readable = true;
	if ((events & EPOLLOUT) && !u->writable) {
		u->writable = true;
		u->end->ops->resume(u->end);
	}
	if (u->readable || u->errors)
		amp_work_queue(&u->work);
}

static void udp_event(struct amp_end *end, enum amp_end_event event)
{
	struct amp_udp *u = end->owner;

	if (event == AMP_END_WRITABLE) {
		amp_udp_writable(u);
	} else if (event == AMP_END_EOF) {
		/* not DEAF, which comes with the same close: what was sent before goes out */
		end->ops->close(end);
		udp_gone(u);
	} else if (event == AMP_END_FAILED) {
		amp_udp_kill(u);
	}
}

static void udp_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct amp_udp *u = end->owner;

	info->kind = "udp";
	info->proto = "udp";
	info->state = u->connected ? "connected" : "bound";
	info->drops = u->drops_all;
	if (u->watch.fd >= 0)
		amp_fd_info(u->watch.fd, info);
	else if (u->o.virt)
		snprintf(info->host_local, AMP_INFO_ADDR, "inet:%u", u->local.port);
	info->proto = "udp";
}

static const struct amp_end_user udp_user = {
	.data = amp_udp_data,
	.event = udp_event,
	.info = udp_info,
};

/* ---- opening ---- */

static int udp_socket(struct amp_udp *u, const struct amp_off_open *o)
{
	static const int on = 1;
	struct amp_off_addr local = o->local;
	struct sockaddr_storage ss;
	socklen_t len;
	int fd, err;

	local.family = o->family;
	len = amp_off_to_sa(&local, &ss);
	if (local.port) {
		err = amp_policy_addr(u->o.ses->off, AMP_DIR_IN, AMP_PROTO_UDP,
				      (struct sockaddr *)&ss, "bind", &u->o.rule[AMP_DIR_IN]);
		if (err)
			return -err;
		u->in_ok = true;
	}
	fd = amp_off_socket(u->o.ses->off, ss.ss_family, SOCK_DGRAM);
	if (fd < 0)
		return fd;
	err = amp_off_set_bits(&u->o, fd, o->opts_set, o->opts);
	/* bound in any case: getsockname() tells the truth from the first moment */
	if (!err)
		err = -amp_helper_bind(fd, (struct sockaddr *)&ss, len);
	if (err) {
		close(fd);
		return -err;
	}
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
	amp_off_own_groups(fd);
	return fd;
}

/* Linux gives up a port that it chose itself when the peer goes: the guest keeps its own. */
static int rebind(struct amp_udp *u)
{
	struct amp_off_addr now;
	struct sockaddr_storage ss;
	socklen_t len = amp_off_to_sa(&u->local, &ss);

	amp_off_local(u->watch.fd, &now);
	if (now.port)
		return 0;
	return -amp_helper_bind(u->watch.fd, (struct sockaddr *)&ss, len);
}

int amp_udp_connect(struct amp_osock *s, const struct amp_off_addr *peer,
		    struct amp_off_addr *local)
{
	struct amp_udp *u = (struct amp_udp *)s;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss.ss_family);
	int err = 0;

	memset(&ss, 0, sizeof(ss));
	if (peer->family) {
		if (peer->family != s->family)
			return EAFNOSUPPORT;
		len = amp_udp_to_kernel(u, peer, &ss);
		err = amp_udp_may_send(u, &ss);
	}
	if (!err && !u->o.virt && connect(u->watch.fd, (struct sockaddr *)&ss, len))
		err = errno;
	if (!err && !u->o.virt && !peer->family)
		err = rebind(u);
	if (err)
		return err;
	u->connected = peer->family != 0;
	u->peer = ss;
	*local = u->local;
	if (!u->o.virt)
		amp_off_local(u->watch.fd, local);
	return 0;
}

static int udp_start(struct amp_udp *u, const struct amp_off_open *o, struct amp_off_answer *a)
{
	int fd, err = 0;

	u->o.virt = o->local.port ? amp_virtual_udp_find(u->o.ses->off, o->local.port) : NULL;
	if (u->o.virt && u->o.virt->udp_user) {
		u->o.virt = NULL;
		return EADDRINUSE;
	}
	fd = u->o.virt ? u->o.virt->udp_fd : udp_socket(u, o);
	if (fd < 0)
		return -fd;
	if (u->o.virt) {
		u->o.virt->udp_user = &u->o;
		u->kernel_drops = u->o.virt->udp_drops;
		u->in_ok = true;
		a->local = o->local;
		err = amp_off_set_bits(&u->o, fd, o->opts_set, o->opts);
		if (err)
			return err;
	}
	u->watch.ready = udp_ready;
	err = -amp_watch_start(&u->watch, fd, EPOLLIN | EPOLLOUT | EPOLLET);
	if (err) {
		if (!u->o.virt)
			close(fd);
		return err;
	}
	if (!u->o.virt)
		amp_off_local(fd, &a->local);
	u->local = a->local;
	if (o->peer.family)
		err = amp_udp_connect(&u->o, &o->peer, &a->local);
	a->peer = o->peer;
	if (!err && u->o.virt)
		amp_forward_hit(u->o.virt->fwd);
	return err;
}

void amp_udp_open(struct amp_session *ses, struct amp_end *carrier,
		  const struct amp_off_open *o)
{
	struct amp_off_answer a = {.magic = AMP_OFF_MAGIC,
				   .version = AMP_OFF_VERSION,
				   .op = AMP_OFF_UDP,
				   .max_frame = UINT16_MAX};
	struct amp_udp *u = calloc(1, sizeof(*u));
	uint8_t p[AMP_OFF_ANSWER_LEN];
	struct iovec iov = {p, sizeof(p)};
	int err;

	if (!u || o->max_frame <= AMP_OFF_UDP_LEN) {
		amp_carrier_refuse(ses->off, carrier, AMP_OFF_UDP,
				   u ? AMP_OFF_EINVAL : AMP_OFF_ENOBUFS);
		free(u);
		return;
	}
	u->o.ops = &udp_ops;
	u->o.family = o->family;
	u->o.type = AMP_OFF_DGRAM;
	u->watch.fd = -1;
	u->work.run = amp_udp_run;
	u->writable = true; /* as every new socket; the loop may say so too late */
	u->end = carrier;
	u->spill.limits = &ses->off->link->limits;
	u->max_payload =
		(o->max_frame < UINT16_MAX ? o->max_frame : UINT16_MAX) - AMP_OFF_UDP_LEN;
	if (!amp_osock_add(ses, &u->o)) {
		amp_carrier_refuse(ses->off, carrier, AMP_OFF_UDP, AMP_OFF_EMFILE);
		free(u);
		return;
	}
	err = udp_start(u, o, &a);
	if (err) {
		amp_carrier_refuse(ses->off, carrier, AMP_OFF_UDP, amp_off_status(err));
		udp_gone(u);
		return;
	}
	carrier->owner = u;
	carrier->user = &udp_user;
	a.id = u->o.id;
	amp_off_put_answer(p, &a);
	if (carrier->ops->write(carrier, &iov, 1, sizeof(p)) != sizeof(p)) {
		amp_udp_kill(u);
		return;
	}
	carrier->ops->resume(carrier);
}
