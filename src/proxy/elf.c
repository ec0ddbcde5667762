// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close pread64 */
/* Each header is read into a local and checked; a section table is walked once. */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "elf.h"
#include "helper.h"

/* What both classes have in common. */
struct section {
	uint32_t name;
	uint64_t addr, offset, size;
};

struct elf {
	int fd;
	bool wide;
	uint64_t sections; /* offset of the section headers */
	unsigned cnt, names;
};

static bool read_at(const struct elf *f, void *dst, size_t len, uint64_t off)
{
	return off <= INT64_MAX && pread(f->fd, dst, len, (off_t)off) == (ssize_t)len;
}

static bool get_section(const struct elf *f, unsigned i, struct section *s)
{
	Elf64_Shdr h64;
	Elf32_Shdr h32;

	if (f->wide) {
		if (!read_at(f, &h64, sizeof(h64), f->sections + (uint64_t)i * sizeof(h64)))
			return false;
		*s = (struct section){h64.sh_name, h64.sh_addr, h64.sh_offset, h64.sh_size};
		return true;
	}
	if (!read_at(f, &h32, sizeof(h32), f->sections + (uint64_t)i * sizeof(h32)))
		return false;
	*s = (struct section){h32.sh_name, h32.sh_addr, h32.sh_offset, h32.sh_size};
	return true;
}

static bool get_header(struct elf *f)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr h32;
		Elf64_Ehdr h64;
	} h;

	memset(&h, 0, sizeof(h));
	if (!read_at(f, &h.h32, sizeof(h.h32), 0) || memcmp(h.ident, ELFMAG, SELFMAG) ||
	    h.ident[EI_DATA] != ELFDATA2LSB)
		return false;
	f->wide = h.ident[EI_CLASS] == ELFCLASS64;
	if (!f->wide) {
		f->sections = h.h32.e_shoff;
		f->cnt = h.h32.e_shnum;
		f->names = h.h32.e_shstrndx;
		return h.ident[EI_CLASS] == ELFCLASS32 &&
		       h.h32.e_shentsize == sizeof(Elf32_Shdr);
	}
	if (!read_at(f, &h.h64, sizeof(h.h64), 0))
		return false;
	f->sections = h.h64.e_shoff;
	f->cnt = h.h64.e_shnum;
	f->names = h.h64.e_shstrndx;
	return h.h64.e_shentsize == sizeof(Elf64_Shdr);
}

/* Is the section called so? */
static bool named(const struct elf *f, const struct section *names, uint32_t at,
		  const char *name)
{
	char text[64];
	size_t len = strlen(name) + 1;

	return len <= sizeof(text) && at <= names->size && len <= names->size - at &&
	       read_at(f, text, len, names->offset + at) && memcmp(text, name, len) == 0;
}

int amp_elf_section(const char *path, const char *name, uint64_t *addr, char *why,
		    size_t why_len)
{
	struct elf f = {.fd = amp_helper_open(AMP_HELPER_ELF, path)};
	struct section names, s;
	int r = -ENOENT;

	if (f.fd < 0) {
		snprintf(why, why_len, "%s: %s", path, strerror(-f.fd));
		return f.fd;
	}
	snprintf(why, why_len, "%s is no little-endian ELF file", path);
	if (!get_header(&f) || f.names >= f.cnt || !get_section(&f, f.names, &names))
		goto out;
	snprintf(why, why_len, "%s has no section %s", path, name);
	for (unsigned i = 0; i < f.cnt && r; i++) {
		if (!get_section(&f, i, &s) || !named(&f, &names, s.name, name))
			continue;
		*addr = s.addr;
		r = 0;
	}
out:
	close(f.fd);
	return r;
}
