/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to rule*.c: taking a rule's text apart, and what is local to the host. */
#ifndef AMP_PROXY_RULE_TEXT_H
#define AMP_PROXY_RULE_TEXT_H

#include "rule.h"

#define AMP_TEXT_WORD 300u

struct amp_text {
	const char *all;
	const char *rest;
	const char *at; /* where word began */
	struct amp_rule_error *err;
	char word[AMP_TEXT_WORD];
};

/* The next word between blanks into t->word (empty: none, or too long). */
bool amp_text_word(struct amp_text *t);
/* Fills in *t->err with t->word as what was found. -EINVAL. */
int amp_text_error(struct amp_text *t, const char *msg);
/* Nothing more must follow but this word, if it likes. */
int amp_text_last(struct amp_text *t, const char *word, bool *given);
/* "host:port", "[v6]:port", "[v6]/bits:port", "[v6/bits]:port". host and port: AMP_TEXT_WORD
 * each. */
bool amp_text_split(const char *word, char *host, char *port, bool *brackets);

/* Every address of the prefix is loopback, unspecified or link-local. */
bool amp_prefix_is_local(const uint8_t addr[16], unsigned bits);
/* IPv4 in its many IPv6 coats comes out as ::ffff:a.b.c.d. */
void amp_addr_plain(uint8_t addr[16]);

#endif /* AMP_PROXY_RULE_TEXT_H */
