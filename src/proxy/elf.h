/* SPDX-License-Identifier: BSD-3-Clause */
/* A firmware's ELF file: where a section lies in the remote's memory. */
#ifndef AMP_PROXY_ELF_H
#define AMP_PROXY_ELF_H

#include <stddef.h>
#include <stdint.h>

/*
 * The address of the section called name. 0; -errno with words in why. 32 and 64 bits,
 * little-endian. Nothing of the file is trusted.
 */
int amp_elf_section(const char *path, const char *name, uint64_t *addr, char *why,
		    size_t why_len);

#endif /* AMP_PROXY_ELF_H */
