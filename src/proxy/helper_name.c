// SPDX-License-Identifier: BSD-3-Clause
/*
 * The host's resolver, in libuv's threads, which the helper alone has. A job cannot be stopped,
 * only not be waited for: its answer goes to the worker, which may have forgotten the id.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "helper_msg.h"

#define JOBS_MAX 1024u /* the worker limits each link to a few: this is for one gone wrong */

struct job {
	union {
		uv_getaddrinfo_t addr;
		uv_getnameinfo_t name;
	} req;
	uint64_t id;
	int news_fd;
	uint32_t op;
	unsigned life; /* of a worker: ids are its own */
};

static unsigned busy, life;

static int eai_of(int uv_err)
{
	switch (uv_err) {
	case 0:
		return 0;
	case UV_EAI_AGAIN:
	case UV_ECANCELED:
	case UV_EAI_CANCELED:
		return EAI_AGAIN;
	case UV_EAI_FAMILY:
	case UV_EAI_ADDRFAMILY:
		return EAI_FAMILY;
	case UV_EAI_NONAME:
	case UV_EAI_NODATA:
		return EAI_NONAME;
	case UV_EAI_SERVICE:
		return EAI_SERVICE;
	case UV_EAI_SOCKTYPE:
		return EAI_SOCKTYPE;
	case UV_EAI_MEMORY:
	case UV_ENOMEM:
		return EAI_MEMORY;
	default:
		return EAI_FAIL;
	}
}

static void put_addrs(struct amp_helper_ans *ans, const struct addrinfo *res)
{
	const struct addrinfo *a;
	unsigned n = 0;

	memset(&ans->u.names, 0, sizeof(ans->u.names));
	for (a = res; a && n < AMP_HELPER_ADDRS; a = a->ai_next) {
		if (a->ai_addrlen > sizeof(ans->u.names.addr[n].addr))
			continue;
		ans->u.names.addr[n].len = a->ai_addrlen;
		ans->u.names.addr[n].type = (uint32_t)a->ai_socktype;
		ans->u.names.addr[n].protocol = (uint32_t)a->ai_protocol;
		memcpy(&ans->u.names.addr[n].addr, a->ai_addr, a->ai_addrlen);
		n++;
	}
	if (res && res->ai_canonname && strlen(res->ai_canonname) < sizeof(ans->u.names.canon))
		strcpy(ans->u.names.canon, res->ai_canonname);
	ans->more = n;
}

/* An answer that the worker has no room for is lost: it does not read, so it is not well. */
static void answer(const struct job *job, struct amp_helper_ans *ans, int err)
{
	size_t len = AMP_HELPER_ANS_HEAD +
		     (job->op == AMP_HELPER_RESOLVE ? sizeof(ans->u.names) : ans->text_len);

	ans->magic = AMP_HELPER_MAGIC;
	ans->op = job->op;
	ans->id = job->id;
	ans->result = err;
	if (job->life != life)
		return;
	if (amp_helper_send(job->news_fd, ans, len, -1))
		amp_log(AMP_LOG_WARN, "an answer of the resolver was lost");
}

static void on_addr(uv_getaddrinfo_t *req, int err, struct addrinfo *res)
{
	struct job *job = (struct job *)(void *)req;
	struct amp_helper_ans ans;

	memset(&ans, 0, AMP_HELPER_ANS_HEAD);
	put_addrs(&ans, err ? NULL : res);
	answer(job, &ans, eai_of(err));
	uv_freeaddrinfo(res);
	free(job);
	busy--;
}

static void on_name(uv_getnameinfo_t *req, int err, const char *host, const char *service)
{
	struct job *job = (struct job *)(void *)req;
	struct amp_helper_ans ans;
	size_t len;

	memset(&ans, 0, AMP_HELPER_ANS_HEAD);
	if (!err) {
		/* libuv's are of NI_MAXHOST and NI_MAXSERV bytes at most: both fit */
		len = strlen(host) + 1;
		memcpy(ans.u.text, host, len);
		memcpy(ans.u.text + len, service, strlen(service) + 1);
		ans.text_len = (uint32_t)(len + strlen(service) + 1);
	}
	answer(job, &ans, eai_of(err));
	free(job);
	busy--;
}

static int start(struct job *job, const struct amp_helper_req *req)
{
	const struct addrinfo hints = {
		.ai_family = (int)req->arg[0],
		.ai_socktype = (int)req->arg[1],
		.ai_flags = (int)(req->arg[2] & (AI_CANONNAME | AI_ADDRCONFIG | AI_PASSIVE |
						 AI_V4MAPPED | AI_NUMERICHOST)),
	};

	if (req->op == AMP_HELPER_NAME)
		return uv_getnameinfo(uv_default_loop(), &job->req.name, on_name,
				      (const struct sockaddr *)&req->sa, (int)req->arg[0]);
	return uv_getaddrinfo(uv_default_loop(), &job->req.addr, on_addr,
			      req->path[0] ? req->path : NULL, req->name[0] ? req->name : NULL,
			      &hints);
}

void amp_helper_name(int news_fd, const struct amp_helper_req *req)
{
	struct job *job = busy < JOBS_MAX ? calloc(1, sizeof(*job)) : NULL;
	const struct job none = {
		.id = req->id, .news_fd = news_fd, .op = req->op, .life = life};
	struct amp_helper_ans ans;
	int err = UV_EAI_AGAIN;

	if (job) {
		*job = none;
		err = start(job, req);
	}
	if (!err) {
		busy++;
		return;
	}
	free(job);
	memset(&ans, 0, sizeof(ans));
	answer(&none, &ans, eai_of(err));
}

void amp_helper_name_forget(void)
{
	life++;
}

unsigned amp_helper_name_busy(void)
{
	return busy;
}
