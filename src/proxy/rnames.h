/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The names on an rpmsg link: services of the remote's that a rule asks for, and ours.
 *
 * Our services are the offload protocol's and what is exposed. The remote hears of them from
 * the name service where the link has one, and, when it has a front door, by SERVICE
 * (docs/protocol.md); a front door may be all that it listens at. Of what the remote announces
 * the names that a rule asks for are remembered, and AMP_RNAMES_MORE others, for which a rule may
 * come at run time; so a remote can announce as much as it likes.
 */
#ifndef AMP_PROXY_RNAMES_H
#define AMP_PROXY_RNAMES_H

#include "../af_rpmsg/rpmsg_stream.h"
#include "config.h"

/* The front door of a remote, and our offload service. */
#define AMP_RNAMES_DOOR AMP_RSTREAM_DOOR AMP_RSTREAM_SUFFIX

/* A service of ours. */
struct amp_rservice {
	struct amp_rpmsg_named end;    /* name and address; on a bus, open */
	const struct amp_forward *fwd; /* NULL: the offload protocol */
	unsigned sources;	       /* raw: ends */
	bool told;		       /* the front door */
};

/* A name that a rule wants, and where the remote has it. */
struct amp_rname {
	char name[AMP_SERVICE_NAME]; /* its own: rules come and go */
	uint32_t addr;
	bool known;
	bool asked; /* by a rule; else it is remembered for one that may come */
	bool seen;  /* the owner's */
};

struct amp_rnames {
	struct amp_rservice *services; /* those with fixed addresses first */
	unsigned service_cnt;
	struct amp_rname *names; /* the first: the front door */
	unsigned name_cnt, name_max;
};

#define AMP_RNAMES_MORE 64u

/* From the link's rules. end.ept.addr of each service: the fixed one, or AMP_RPMSG_ADDR_ANY. 0,
 * -ENOMEM. */
int amp_rnames_init(struct amp_rnames *n, const struct amp_link_conf *conf);
void amp_rnames_free(struct amp_rnames *n);
/* A rule that comes asks for this name. 0; -ENOSPC: too many have come. */
int amp_rnames_want(struct amp_rnames *n, const char *name);
/* Another remote: it has announced nothing, and knows of nothing. */
void amp_rnames_forget(struct amp_rnames *n);

static inline const struct amp_rname *amp_rnames_door(const struct amp_rnames *n)
{
	return &n->names[0];
}

/*
 * The remote announces name at addr, or withdraws it. False: no rule asks for it. *left: where
 * it was before and is no longer, AMP_RPMSG_ADDR_ANY: nowhere.
 */
bool amp_rnames_heard(struct amp_rnames *n, const char *name, uint32_t addr, bool gone,
		      uint32_t *left);
/* Where the remote has the service. 0; -ENOENT: not announced. */
int amp_rnames_find(const struct amp_rnames *n, const struct amp_service *service,
		    uint32_t *addr);
/* SERVICE to the front door for all of which it has not heard, as far as there are buffers. */
void amp_rnames_tell(struct amp_rnames *n, struct amp_rstream *rs);
/* SERVICE with `gone` for all of which it has heard, as far as there are buffers. */
void amp_rnames_withdraw(struct amp_rnames *n, struct amp_rstream *rs);

#endif /* AMP_PROXY_RNAMES_H */
