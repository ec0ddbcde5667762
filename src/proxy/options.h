/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line, once more: for a reload. */
#ifndef AMP_PROXY_OPTIONS_H
#define AMP_PROXY_OPTIONS_H

#include "config.h"

/*
 * The options that this process was started with, into conf (which is set up, and freed by the
 * caller in any case), with text for what is in the file of --config. Everything that is wrong is
 * written to err. 0 or -EINVAL.
 */
int amp_options_again(FILE *text, struct amp_config *conf, FILE *err);

#endif /* AMP_PROXY_OPTIONS_H */
