/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Records, to JSON and back. They were written by an mplex-run, but perhaps by a newer one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "error.h"
#include "record.h"
#include "scope.h"

static json_t *address_list(int family, const void *addresses, size_t count)
{
	size_t size = family == AF_INET ? 4 : 16;
	json_t *list = json_array();
	char text[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < count; i++) {
		inet_ntop(family, (const char *)addresses + i * size, text, sizeof(text));
		json_array_append_new(list, json_string(text));
	}
	return list;
}

json_t *record_document(const struct record *record)
{
	const struct addresses *own = &record->addresses;

	return json_pack(
		"{s:i, s:s, s:s, s:s, s:I, s:I, s:s, s:b, s:{s:I, s:I, s:I}, s:I, s:o, s:o, s:s}",
		"format", RECORD_FORMAT, "tool", record->tool, "interface", record->interface,
		"object", record->object, "since", (json_int_t)record->since, "loaded",
		(json_int_t)record->loaded, "mode", mode_name(record->mode), "observing",
		record->observing, "programs", "xdp", (json_int_t)record->xdp, "ingress",
		(json_int_t)record->ingress, "egress", (json_int_t)record->egress, "previous",
		(json_int_t)record->previous, "v4", address_list(AF_INET, own->v4, own->v4_count),
		"v6", address_list(AF_INET6, own->v6, own->v6_count), "manifest",
		record->manifest_text);
}

/* Returns 0, -EINVAL or -ENOMEM. */
static int parse_addresses(const json_t *list, int family, void *out, size_t *count)
{
	size_t size = family == AF_INET ? 4 : 16, length = json_array_size(list);
	SCOPED(scoped_free) char *addresses = calloc(length + 1, size);

	if (!addresses)
		return -ENOMEM;
	for (size_t i = 0; i < length; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text || inet_pton(family, text, addresses + i * size) != 1)
			return -EINVAL;
	}
	*(char **)out = TAKE(addresses);
	*count = length;
	return 0;
}

static int parse_facts(struct record *record)
{
	json_int_t since, loaded, xdp, ingress, egress, previous;
	json_t *v4, *v6;
	const char *mode;
	int err;

	if (json_unpack(record->document,
			"{s:s, s:s, s:s, s:I, s:I, s:s, s:{s:I, s:I, s:I}, s:I, s:o, s:o, s:s}",
			"tool", &record->tool, "interface", &record->interface, "object",
			&record->object, "since", &since, "loaded", &loaded, "mode", &mode,
			"programs", "xdp", &xdp, "ingress", &ingress, "egress", &egress, "previous",
			&previous, "v4", &v4, "v6", &v6, "manifest", &record->manifest_text))
		return -EINVAL;
	record->since = since;
	record->loaded = loaded;
	record->mode = strcmp(mode, mode_name(MODE_GENERIC)) ? MODE_NATIVE : MODE_GENERIC;
	/* Not there in the record of an mplex-run that did not know it. */
	record->observing = json_is_true(json_object_get(record->document, "observing"));
	record->xdp = xdp;
	record->ingress = ingress;
	record->egress = egress;
	record->previous = previous;
	err = parse_addresses(v4, AF_INET, &record->addresses.v4, &record->addresses.v4_count);
	return err ? err
		   : parse_addresses(v6, AF_INET6, &record->addresses.v6,
				     &record->addresses.v6_count);
}

int record_parse(json_t *document, struct record *out, char *error, size_t n)
{
	SCOPED(record_free) struct record record = {.document = document};
	json_int_t format = json_integer_value(json_object_get(document, "format"));
	char why[ERROR_SIZE];
	int err;

	if (format > RECORD_FORMAT)
		return failed(error, n, ENOTSUP,
			      "its record was written by a newer mplex-run: use that one");
	err = format < 1 ? -EINVAL : parse_facts(&record);
	if (err)
		return failed(error, n, -err, "its record is malformed: %s", strerror(-err));
	err = manifest_parse(record.manifest_text, strlen(record.manifest_text) + 1,
			     &record.manifest, why, sizeof(why));
	if (err)
		return failed(error, n, -err, "its record is malformed: %s", why);
	*out = record;
	memset(&record, 0, sizeof(record));
	return 0;
}

void record_free(struct record *record)
{
	manifest_free(&record->manifest);
	addresses_free(&record->addresses);
	json_decref(record->document);
	memset(record, 0, sizeof(*record));
}
