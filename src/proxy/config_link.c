// SPDX-License-Identifier: BSD-3-Clause
/* What a link can be told, the same words in the file and behind --link, and whether it fits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_inner.h"

static const struct {
	const char *text;
	enum amp_link_type type;
} link_types[] = {
	{"vhost-user-vsock", AMP_LINK_VHOST_USER_VSOCK},
	{"rpmsg-shm", AMP_LINK_RPMSG_SHM},
	{"rpmsg-char", AMP_LINK_RPMSG_CHAR},
	{"vsock", AMP_LINK_VSOCK},
	{"vsock-unix", AMP_LINK_VSOCK_UNIX},
};

static const char link_type_list[] =
	"vhost-user-vsock, vsock, vsock-unix, rpmsg-shm or rpmsg-char";

const char *amp_link_type_text(enum amp_link_type type)
{
	for (unsigned i = 0; i < sizeof(link_types) / sizeof(*link_types); i++) {
		if (link_types[i].type == type)
			return link_types[i].text;
	}
	return "?";
}

int amp_link_set_name(struct amp_link_conf *link, const char *text, const char *where,
		      FILE *err)
{
	size_t len = strlen(text);

	if (len == 0 || len > AMP_LINK_NAME_MAX ||
	    text[strspn(text,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")])
		return amp_config_complain(
			err, where,
			"expected a link name of at most 31 letters, digits, `-`, `_` and `.`",
			text);
	memcpy(link->name, text, len + 1);
	return 0;
}

static int set_path(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	size_t len = strlen(text);

	if (len == 0 || len >= sizeof(link->path))
		return amp_config_complain(err, where, "expected a path of 1 to 255 bytes",
					   text);
	memcpy(link->path, text, len + 1);
	amp_path_normal(link->path);
	return 0;
}

static int set_cid(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	/* what a type can have: check_cid(), when it is known */
	if (!amp_parse_u32(text, UINT32_MAX - 1, &link->cid) || !link->cid) {
		link->cid = 0;
		return amp_config_complain(err, where, "expected a CID from 3 to 4294967294",
					   text);
	}
	return 0;
}

static int set_type(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	struct amp_nearest near = {NULL, 0};
	char what[200];

	link->type = AMP_LINK_NONE;
	for (unsigned i = 0; i < sizeof(link_types) / sizeof(*link_types); i++) {
		amp_nearest(text, link_types[i].text, &near);
		if (strcmp(text, link_types[i].text) == 0) {
			link->type = link_types[i].type;
			return 0;
		}
	}
	snprintf(what, sizeof(what), "expected a link type: %s%s%s%s", link_type_list,
		 near.word ? " (did you mean `" : "", near.word ? near.word : "",
		 near.word ? "`?)" : "");
	return amp_config_complain(err, where, what, text);
}

static int set_number(uint64_t *value, uint64_t max, const char *what, const char *text,
		      const char *where, FILE *err)
{
	return amp_parse_u64(text, max, value) ? 0
					       : amp_config_complain(err, where, what, text);
}

static int set_da(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	return set_number(&link->shm.da, UINT64_MAX,
			  "expected the address of the file's first byte, such as 0x21000000",
			  text, where, err);
}

static int set_offset(struct amp_link_conf *link, const char *text, const char *where,
		      FILE *err)
{
	return set_number(&link->shm.offset, INT64_MAX,
			  "expected an offset in the file in bytes, such as 0x10000 or 1M",
			  text, where, err);
}

static int set_size(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	static const char what[] = "expected a size in bytes, such as 0x100000 or 16M";

	if (set_number(&link->shm.size, INT64_MAX, what, text, where, err))
		return -EINVAL;
	return link->shm.size ? 0 : amp_config_complain(err, where, what, text);
}

static int set_table(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	link->shm.has_table = true;
	return set_number(&link->shm.table, UINT64_MAX,
			  "expected the resource table's address as the remote counts", text,
			  where, err);
}

static int set_elf(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	if (!*text || strlen(text) >= sizeof(link->shm.elf))
		return amp_config_complain(
			err, where, "expected the path of the firmware's ELF file", text);
	strcpy(link->shm.elf, text);
	return 0;
}

static int set_sysfs(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	if (!*text || strlen(text) >= sizeof(link->sysfs))
		return amp_config_complain(
			err, where, "expected the directory where sysfs is mounted", text);
	strcpy(link->sysfs, text);
	return 0;
}

/* ADDRESS:SIZE */
static int set_carveout(struct amp_link_conf *link, const char *text, const char *where,
			FILE *err)
{
	char *copy = strdup(text), *colon;
	int r = 0;

	if (!copy)
		return amp_config_no_memory(err, where);
	colon = strchr(copy, ':');
	if (colon)
		*colon++ = 0;
	if (!colon || !amp_parse_u64(copy, UINT64_MAX, &link->shm.carveout) ||
	    !amp_parse_u64(colon, INT64_MAX, &link->shm.carve_size) || !link->shm.carve_size)
		r = amp_config_complain(
			err, where,
			"expected ADDRESS:SIZE of memory for rings and buffers, such as "
			"0x21080000:256k",
			text);
	free(copy);
	return r;
}

static int set_buffer(struct amp_link_conf *link, const char *text, const char *where,
		      FILE *err)
{
	static const char what[] =
		"expected bytes a buffer: 128 to 65536, a multiple of 4 (512 is usual)";
	uint64_t v;

	if (set_number(&v, 65536, what, text, where, err))
		return -EINVAL;
	link->shm.buf_len = (uint32_t)v;
	return v < 128 || v % 4 ? amp_config_complain(err, where, what, text) : 0;
}

static int set_buffers(struct amp_link_conf *link, const char *text, const char *where,
		       FILE *err)
{
	static const char what[] = "expected the number of buffers a direction: 1 to 1024";
	uint64_t v;

	if (set_number(&v, 1024, what, text, where, err))
		return -EINVAL;
	link->shm.buf_cnt = (uint32_t)v;
	return v ? 0 : amp_config_complain(err, where, what, text);
}

static bool bell_eventfd(struct amp_bell_conf *bell, const char *text)
{
	char first[6];
	const char *comma = strchr(text, ',');
	uint32_t rx, tx;

	if (!comma || (size_t)(comma - text) >= sizeof(first))
		return false;
	memcpy(first, text, (size_t)(comma - text));
	first[comma - text] = 0;
	if (!amp_parse_u32(first, 65535, &rx) || !amp_parse_u32(comma + 1, 65535, &tx) ||
	    rx <= 2 || tx <= 2)
		return false;
	bell->kind = AMP_BELL_EVENTFD;
	bell->rx = (int)rx;
	bell->tx = (int)tx;
	return true;
}

static int set_bell(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	struct amp_bell_conf *bell = &link->shm.bell;

	if (strncmp(text, "unix:", 5) == 0 && text[5] &&
	    strlen(text + 5) < sizeof(bell->path)) {
		bell->kind = AMP_BELL_UNIX;
		strcpy(bell->path, text + 5);
		amp_path_normal(bell->path);
		return 0;
	}
	if (strncmp(text, "eventfd:", 8) == 0 && bell_eventfd(bell, text + 8))
		return 0;
	if (strncmp(text, "poll:", 5) == 0 && amp_parse_u32(text + 5, 1000, &bell->poll_ms) &&
	    bell->poll_ms) {
		bell->kind = AMP_BELL_POLL;
		return 0;
	}
	return amp_config_complain(
		err, where,
		"expected a doorbell: unix:PATH (at most 107 bytes), eventfd:RX,TX "
		"(descriptors from 3 up) or poll:MS (1 to 1000)",
		text);
}

#define VSOCK (1u << AMP_LINK_VHOST_USER_VSOCK)
#define SHM   (1u << AMP_LINK_RPMSG_SHM)
#define CHAR  (1u << AMP_LINK_RPMSG_CHAR)
#define KERN  (1u << AMP_LINK_VSOCK)
#define UNIX  (1u << AMP_LINK_VSOCK_UNIX)

/* What a link can have once: the same word in the file and behind --link. */
static const struct key {
	const char *name;
	unsigned types;
	int (*set)(struct amp_link_conf *link, const char *text, const char *where, FILE *err);
} keys[] = {
	{"type", VSOCK | SHM | CHAR | KERN | UNIX, set_type},
	{"path", VSOCK | SHM | CHAR | UNIX, set_path},
	{"cid", VSOCK | KERN, set_cid},
	{"da", SHM, set_da},
	{"offset", SHM, set_offset},
	{"size", SHM, set_size},
	{"table", SHM, set_table},
	{"elf", SHM, set_elf},
	{"carveout", SHM, set_carveout},
	{"buffer", SHM | CHAR, set_buffer},
	{"buffers", SHM, set_buffers},
	{"bell", SHM, set_bell},
	{"sysfs", CHAR, set_sysfs},
};
#define KEYS (sizeof(keys) / sizeof(*keys))
_Static_assert(KEYS <= AMP_LINK_KEYS, "room for where each key was given");

/* Where a key was given; the link's own place, if it was not. */
static const char *key_where(const struct amp_link_conf *link, const char *name)
{
	for (unsigned i = 0; i < KEYS; i++) {
		if (strcmp(name, keys[i].name) == 0 && link->key_where[i])
			return link->key_where[i];
	}
	return link->where;
}

/* The keys of a type (0: of all) in words, without type and path. */
const char *amp_link_key_list(unsigned types)
{
	static char text[192];
	size_t len = 0;

	text[0] = 0;
	for (unsigned i = 2; i < KEYS; i++) {
		if (!types || (keys[i].types & types))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
						len ? ", " : "", keys[i].name);
	}
	return text;
}

void amp_link_nearest_key(const char *typed, struct amp_nearest *n)
{
	for (unsigned i = 0; i < KEYS; i++)
		amp_nearest(typed, keys[i].name, n);
}

/* 1: no such key. */
int amp_link_set_key(struct amp_link_conf *link, const char *name, const char *value,
		     const char *where, FILE *err)
{
	for (unsigned i = 0; i < KEYS; i++) {
		if (strcmp(name, keys[i].name))
			continue;
		/* also tells two sections of one name, one behind the other: inih makes one */
		if (link->given & 1u << i)
			return amp_config_complain_key(
				err, where, "expected this key once in a link", name);
		link->given |= 1u << i;
		link->key_where[i] = strdup(where);
		if (!link->key_where[i])
			return amp_config_no_memory(err, where);
		return keys[i].set(link, value, where, err);
	}
	return 1;
}

static int link_option(struct amp_link_conf *link, char *opt, FILE *err)
{
	char *value = strchr(opt, '=');
	char what[256];
	int r = 1;

	if (value)
		*value++ = 0;
	if (value && strcmp(opt, "name") == 0 && link->name[0])
		return amp_config_complain(err, link->where, "expected this key once in a link",
					   opt);
	if (value && strcmp(opt, "name") == 0)
		return amp_link_set_name(link, value, link->where, err);
	if (value && strcmp(opt, "type") && strcmp(opt, "path"))
		r = amp_link_set_key(link, opt, value, link->where, err);
	if (r <= 0)
		return r;
	snprintf(what, sizeof(what), "expected name=NAME, or KEY=VALUE with a key of %s",
		 amp_link_key_list(1u << link->type));
	return amp_config_complain(err, link->where, what, opt);
}

/* The next option behind a comma; that of bell=eventfd:RX,TX is one of its own. */
static char *next_option(char **rest)
{
	char *opt = strsep(rest, ",");

	if (opt && *rest && strncmp(opt, "bell=eventfd:", 13) == 0) {
		(*rest)[-1] = ',';
		*rest = strchr(*rest, ',');
		if (*rest)
			*(*rest)++ = 0;
	}
	return opt;
}

/* Without a name of its own. */
static void default_name(const struct amp_config *conf, struct amp_link_conf *link)
{
	const struct amp_link_conf *l;
	unsigned n = 0;

	link->named = false;
	if (link->type == AMP_LINK_VHOST_USER_VSOCK || link->type == AMP_LINK_VSOCK) {
		snprintf(link->name, sizeof(link->name), "cid%u", link->cid);
		return;
	}
	TAILQ_FOREACH(l, &conf->links, entry)
	n += l != link &&
	     (amp_link_is_rpmsg(link) ? amp_link_is_rpmsg(l) : l->type == link->type);
	snprintf(link->name, sizeof(link->name), "%s%u",
		 amp_link_is_rpmsg(link) ? "rpmsg" : "unix", n);
}

int amp_config_link(struct amp_config *conf, const char *text, FILE *err)
{
	struct amp_link_conf *link = NULL;
	char *copy = strdup(text), *colon;
	char *rest, *opt, where[128];
	int r;

	/* there may be several: which one it is about */
	snprintf(where, sizeof(where), "--link %s", text);
	if (copy)
		link = amp_config_new_link(conf, where);
	if (!link) {
		r = amp_config_no_memory(err, where);
		goto out;
	}
	link->named = true;
	colon = strchr(copy, ':');
	if (!colon) {
		r = amp_config_complain(
			err, "--link",
			"expected TYPE:PATH[,KEY=VALUE ...][,name=NAME], such as "
			"vhost-user-vsock:/run/ampsock/g3.sock,cid=3",
			text);
		goto out;
	}
	*colon = 0;
	rest = colon + 1;
	r = amp_link_set_key(link, "type", copy, where, err);
	if (!r)
		r = amp_link_set_key(link, link->type == AMP_LINK_VSOCK ? "cid" : "path",
				     strsep(&rest, ","), where, err);
	while (!r && (opt = next_option(&rest)) != NULL)
		r = link_option(link, opt, err);
	if (!r && !link->name[0])
		default_name(conf, link);
out:
	free(copy);
	return r;
}

/* ---- the whole ---- */

/* virtio 1.2, 5.10.4: 0, 1, 2 and 0xffffffff are reserved, so they are no guest's; but to the
 * kernel 1 is this machine, and 2 its host. */
static int check_cid(const struct amp_link_conf *link, FILE *err)
{
	bool kernel = link->type == AMP_LINK_VSOCK;
	char text[16];

	if (!link->cid)
		return amp_config_complain(
			err, link->where,
			kernel ? "this link has no CID: expected cid = N (3 or more; 2: the "
				 "host of "
				 "this machine, 1: this machine)"
			       : "this link has no CID: expected cid = N (3 or more)",
			NULL);
	if (kernel || link->cid >= 3)
		return 0;
	snprintf(text, sizeof(text), "%u", link->cid);
	return amp_config_complain(err, key_where(link, "cid"),
				   "expected a CID from 3 to 4294967294", text);
}

/* PATH_PORT must be a socket's path, too, with the longest port. */
static int check_vsock_unix(const struct amp_link_conf *link, FILE *err)
{
	if (strlen(link->path) + strlen("_4294967294") < AMP_SUN_PATH)
		return 0;
	return amp_config_complain(err, key_where(link, "path"),
				   "expected a socket path of 1 to 96 bytes (_PORT comes "
				   "behind it)",
				   link->path);
}

static int check_vsock(const struct amp_link_conf *link, FILE *err)
{
	int r = check_cid(link, err);

	if (r)
		return r;
	if (strlen(link->path) >= AMP_SUN_PATH)
		return amp_config_complain(err, key_where(link, "path"),
					   "expected a socket path of 1 to 107 bytes",
					   link->path);
	return 0;
}

static int check_shm(const struct amp_link_conf *link, FILE *err)
{
	const struct amp_shm_conf *shm = &link->shm;
	uint64_t end;

	if (shm->bell.kind == AMP_BELL_NONE)
		return amp_config_complain(
			err, link->where,
			"this link has no doorbell: expected bell = unix:PATH, "
			"eventfd:RX,TX or poll:MS",
			NULL);
	if (shm->elf[0] && shm->has_table)
		return amp_config_complain(
			err, key_where(link, "table"),
			"expected either elf (the table's address is in the file) or "
			"table",
			NULL);
	if (__builtin_add_overflow(shm->offset, shm->size, &end) ||
	    __builtin_add_overflow(shm->da, end, &end) ||
	    __builtin_add_overflow(shm->carveout, shm->carve_size, &end))
		return amp_config_complain(err, link->where,
					   "expected da + offset + size within 64 bits", NULL);
	if (shm->offset % 16 || shm->da % 16)
		return amp_config_complain(
			err, link->where, "expected da and offset to be multiples of 16", NULL);
	return 0;
}

int amp_link_check(const struct amp_link_conf *link, FILE *err)
{
	char what[256];
	int r = 0;

	if (link->type == AMP_LINK_NONE) {
		snprintf(what, sizeof(what), "this link has no type: expected type = %s",
			 link_type_list);
		return amp_config_complain(err, link->where, what, NULL);
	}
	for (unsigned i = 0; i < KEYS; i++) {
		if (!(link->given & 1u << i) || (keys[i].types & 1u << link->type))
			continue;
		fprintf(err, "%s: a link of type %s has no key %s: expected one of %s\n",
			key_where(link, keys[i].name), amp_link_type_text(link->type),
			keys[i].name, amp_link_key_list(1u << link->type));
		amp_source_show_key(err, key_where(link, keys[i].name), keys[i].name);
		r = -EINVAL;
	}
	if (r)
		return r;
	if (!link->path[0] && link->type != AMP_LINK_VSOCK) {
		snprintf(what, sizeof(what), "this link has no path: expected path = %s",
			 link->type == AMP_LINK_RPMSG_SHM    ? "FILE"
			 : link->type == AMP_LINK_RPMSG_CHAR ? "/dev/rpmsg_ctrlN"
							     : "SOCKET");
		return amp_config_complain(err, link->where, what, NULL);
	}
	r = link->type == AMP_LINK_RPMSG_SHM	? check_shm(link, err)
	    : link->type == AMP_LINK_RPMSG_CHAR ? 0
	    : link->type == AMP_LINK_VSOCK	? check_cid(link, err)
	    : link->type == AMP_LINK_VSOCK_UNIX ? check_vsock_unix(link, err)
						: check_vsock(link, err);
	return amp_link_check_rules(link, err) ? -EINVAL : r;
}
