/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration that is in force, and how it changes while guests run.
 *
 * Theory of operation
 *
 * A new file is read aside, into a configuration of its own, with the options of the command line
 * as at the start. It is checked as a whole and compared with what runs: each link and rule of
 * the new one gets a *twin* in the running one, or none. Everything that can fail comes next:
 * sockets that the new rules need are opened (amp_listen_hold()), links get their memory. Up to
 * here nothing that runs has been touched, and whatever is wrong ends it with a text.
 *
 * Then it is done, from first to last within one turn of the loop, and cannot fail but for want of
 * memory, or where an address that the service manager passed becomes the wildcard (what did then is
 * said to who asked, in the log, and counted; others listen side by side for that moment): joins and
 * links that are left out end; rules that are left out end, and with them what only they
 * allowed; new ones take their places. A rule with a twin stays the object that it was, with its
 * counters, its socket and its flows: only its text and its place are the new ones. What
 * flows, sockets and forwards point to is therefore always the running configuration; what goes
 * out of it is first taken from those who point to it, and is freed at the end of the pass
 * (amp_bury()), or, for a link, when the loop has closed its handles.
 *
 * A link whose type or way to its guest changes is another link. Where both have the same path, or
 * two rules the same address, the socket changes hands, with the connections that wait in it.
 *
 * A rule published at run time is in no file: a reload leaves it alone, until its link goes. If
 * the file comes to say the same, it is the file's from then on.
 */
#ifndef AMP_PROXY_RELOAD_H
#define AMP_PROXY_RELOAD_H

#include <stddef.h>

#include "link.h"

/* conf is in force: links and joins of it run. It stays the caller's. */
void amp_reload_init(struct amp_config *conf);

/*
 * Reads the file of --config again and does what it says. 0, and in why the keys of [proxy] that
 * have changed and take a restart, with blanks between, or nothing; or -errno and why nothing has
 * changed, several lines perhaps: -EINVAL the file is wrong, -ENOENT there is none, others a
 * socket that cannot be had; or, which should not happen, why not all of it could be done (-EIO).
 * Not from within a link's pass. Says what changed in the log.
 */
int amp_reload(char *why, size_t len);

struct amp_reload_counts {
	uint64_t cnt;
	uint64_t refused;     /* and nothing changed */
	uint64_t failed;      /* links, rules, joins that could not be started, all in all */
	unsigned last_failed; /* of the configuration that is in force */
};
const struct amp_reload_counts *amp_reload_counts(void);

/*
 * A publish rule while the proxy runs, in the words of the file. It stays until it is deleted, its
 * link goes, or the process ends. 0, or -errno and why not. Not from within a link's pass.
 */
int amp_publish_add(struct amp_link *link, const char *text, char *why, size_t len);
/*
 * text: such a rule, or its number (struct amp_forward.id), also one of the file's, which then
 * comes again with the next reload. Its connections end with it.
 */
int amp_publish_del(struct amp_link *link, const char *text, char *why, size_t len);

/* Tells the service manager, behind a start or a reload. */
void amp_reload_say_ready(void);
/* What is in force, for those who show it. */
const struct amp_config *amp_config_running(void);

#endif /* AMP_PROXY_RELOAD_H */
