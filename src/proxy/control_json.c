// SPDX-License-Identifier: BSD-3-Clause
/*
 * What comes in over the control socket. The text is looked at before cJSON sees it, so that
 * what cJSON would let pass, or take its time over, does not get there: nesting (it recurses),
 * a NUL in a string (which would end it early), text that is no UTF-8, control characters.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../wire/utf8.h"
#include "control_inner.h"

static const struct {
	const char *name;
	size_t at, room; /* of a text in struct amp_ctl_req; room 0: a number */
	uint32_t max;
	const char *why; /* too long: what would be right */
} keys[AMP_CTL_KEYS] = {
#define TEXT(field, text)                                                       \
	{                                                                       \
		.name = #field, .at = offsetof(struct amp_ctl_req, field),      \
		.room = sizeof(((struct amp_ctl_req *)0)->field), .why = (text) \
	}
	[AMP_CTL_CMD] = TEXT(cmd, "a command has at most 31 bytes"),
	[AMP_CTL_LINK] = TEXT(link, "the name of a link has at most 31 bytes"),
	[AMP_CTL_RULE] = TEXT(rule, "a rule has at most 1023 bytes"),
	[AMP_CTL_LEVEL] = TEXT(level, "expected error, warning, info or debug for level"),
	[AMP_CTL_COUNT] = {.name = "count",
			   .at = offsetof(struct amp_ctl_req, count),
			   .max = UINT32_MAX},
	[AMP_CTL_SNAP] = {.name = "snap",
			  .at = offsetof(struct amp_ctl_req, snap),
			  .max = AMP_CAPTURE_SNAP},
};

void amp_ctl_number(cJSON *obj, const char *key, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, v);
	cJSON_AddRawToObject(obj, key, text);
}

/* What is wrong with the text as such, whatever it says; NULL: nothing. */
static const char *text_fault(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	bool quoted = false;
	unsigned depth = 0;

	for (size_t i = 0; i < len;) {
		unsigned n = amp_utf8_len(p + i, len - i);

		if (n == 0)
			return "the request is no UTF-8";
		if (p[i] < 0x20 && (quoted || (p[i] != '\t' && p[i] != '\r')))
			return "the request has a control character in it";
		if (p[i] == '"')
			quoted = !quoted;
		else if (quoted && p[i] == '\\' && len - i >= 6 &&
			 memcmp(p + i, "\\u0000", 6) == 0)
			return "the request has a NUL in a string";
		else if (quoted && p[i] == '\\' && i + 1 < len)
			n = 2;
		else if (!quoted && (p[i] == '[' || (p[i] == '{' && depth++)))
			return "expected a flat object: no arrays, no objects inside";
		i += n;
	}
	return NULL;
}

static unsigned key_of(const char *name)
{
	unsigned i = 0;

	while (i < AMP_CTL_KEYS && strcmp(keys[i].name, name))
		i++;
	return i;
}

static const char *take(struct amp_ctl_req *req, const cJSON *item)
{
	unsigned k = item->string ? key_of(item->string) : AMP_CTL_KEYS;
	char *to;

	if (k == AMP_CTL_KEYS)
		return "the request has a key that no request has: expected cmd, link, rule, "
		       "level, count or snap";
	if (req->given & 1u << k)
		return "the request has a key twice";
	req->given |= 1u << k;
	to = (char *)req + keys[k].at;
	if (keys[k].room) {
		if (!cJSON_IsString(item) || !item->valuestring)
			return "expected a string for cmd, link, rule and level";
		if (strlen(item->valuestring) >= keys[k].room)
			return keys[k].why;
		strcpy(to, item->valuestring);
		return NULL;
	}
	/* a NaN compares with nothing */
	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) ||
	    !(item->valuedouble <= keys[k].max) ||
	    item->valuedouble != (double)(uint32_t)item->valuedouble)
		return k == AMP_CTL_SNAP ? "expected a whole number up to 65535 for snap"
					 : "expected a whole number below 2^32 for count";
	*(uint32_t *)(void *)to = (uint32_t)item->valuedouble;
	return NULL;
}

const char *amp_ctl_parse(const char *text, size_t len, struct amp_ctl_req *req)
{
	const char *why = text_fault(text, len);
	const cJSON *item;
	cJSON *root;

	memset(req, 0, sizeof(*req));
	if (why)
		return why;
	/* the last argument: nothing may stand behind the object; text[len] is its NUL */
	root = cJSON_ParseWithLengthOpts(text, len + 1, NULL, true);
	if (!cJSON_IsObject(root)) {
		cJSON_Delete(root);
		return "expected one JSON object on a line";
	}
	cJSON_ArrayForEach(item, root)
	{
		why = take(req, item);
		if (why)
			break;
	}
	cJSON_Delete(root);
	if (!why && !(req->given & 1u << AMP_CTL_CMD))
		why = "expected a key cmd that says what is wanted";
	return why;
}
