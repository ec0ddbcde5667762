/* SPDX-License-Identifier: BSD-3-Clause */
/* A wrong option, in the same words from each of our programs. */
#ifndef AMP_CLI_OPTION_H
#define AMP_CLI_OPTION_H

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define AMP_OPTION_TEXT 300u /* an argument may be of any length: more of it is not said */

static inline const struct option *amp_option_of(const struct option *options, int val)
{
	while (options->name && options->val != val)
		options++;
	return options->name ? options : NULL;
}

/* The one that begins most like what was typed; NULL: none begins so. */
static inline const char *amp_option_like(const struct option *options, const char *typed)
{
	const char *best = NULL;
	size_t best_len = 0;

	for (; options->name; options++) {
		size_t n = 0;

		while (typed[n] && typed[n] == options->name[n])
			n++;
		if (n > best_len) {
			best_len = n;
			best = options->name;
		}
	}
	return best;
}

/*
 * What getopt_long() has not liked, with a ':' before its letters and opterr 0: c is what it returned.
 * Of a letter that is none the letter itself: it may stand among others in its argument.
 */
static inline void amp_option_fault(char dst[static AMP_OPTION_TEXT], int c, char **argv,
				    const struct option *options)
{
	const struct option *o = optopt ? amp_option_of(options, optopt) : NULL;
	bool letter = c == '?' && optopt && !o;
	const char *arg = argv[optind - 1], *like = NULL;

	if (letter) {
		snprintf(dst, AMP_OPTION_TEXT, "-%c: no such option; see --help", optopt);
		return;
	}
	if (c == '?' && !o)
		like = amp_option_like(options, arg + strspn(arg, "-"));
	snprintf(dst, AMP_OPTION_TEXT, "%.200s: %s%s%s; see --help", arg,
		 c == ':' ? "expected a value behind it"
		 : o	  ? "expected no value with it"
			  : "no such option",
		 like ? ": did you mean --" : "", like ? like : "");
}

#endif /* AMP_CLI_OPTION_H */
