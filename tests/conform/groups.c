/* SPDX-License-Identifier: BSD-3-Clause */
/* The groups of cases, in the order of the table: one a file. */
#include "conform.h"

extern const struct ct_case ct_link[], ct_connect[], ct_bind[], ct_stream[], ct_message[],
	ct_close_cases[], ct_poll_cases[], ct_dgram[], ct_option[], ct_misuse[],
	ct_thread_cases[], ct_limit[], ct_name_cases[], ct_edge[], ct_state[], ct_inet[];

const struct ct_case *const ct_groups[] = {
	ct_link,	 ct_connect,	ct_bind,       ct_stream, ct_message,
	ct_close_cases,	 ct_poll_cases, ct_dgram,      ct_option, ct_misuse,
	ct_thread_cases, ct_limit,	ct_name_cases, ct_edge,	  ct_state,
	ct_inet,	 NULL,
};
