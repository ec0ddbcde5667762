/* SPDX-License-Identifier: BSD-3-Clause */
/* net/if.h (POSIX.1-2017) for bare toolchains. A core behind a proxy has no interface. */
#ifndef AMP_NET_IF_H
#define AMP_NET_IF_H

#define IF_NAMESIZE 16

#ifdef __cplusplus
extern "C" {
#endif

struct if_nameindex {
	unsigned int if_index; /* 0 ends the array */
	char *if_name;	       /* NULL ends the array */
};

/*
 * if_nametoindex, if_indextoname - the core has no network interface: 0 with errno ENODEV,
 * NULL with errno ENXIO. Wherever an index is asked for (ipv6mr_interface, sin6_scope_id)
 * 0 leaves the choice to the proxy. Any context. POSIX.1-2017.
 */
unsigned int if_nametoindex(const char *name);
char *if_indextoname(unsigned int index, char *name);

/* if_nameindex - a constant array that is all end; if_freenameindex does nothing. Any context.
 * POSIX.1-2017. */
struct if_nameindex *if_nameindex(void);
void if_freenameindex(struct if_nameindex *list);

#ifdef __cplusplus
}
#endif

#endif /* AMP_NET_IF_H */
