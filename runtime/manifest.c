/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the manifest of an object.
 *
 * An object may come from anywhere, so its manifest is hostile input until every field of it was
 * looked at: the JSON library decides what is JSON, this file what is a manifest. Strings are
 * refused unless they can be printed to a terminal as they are. Keys that are not known are
 * ignored, so that a later mplexc can say more.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "error.h"
#include "manifest.h"
#include "scope.h"

/* Where the reader stands in the document, for its messages: "listeners[0].routes[3]". */
struct reader {
	char path[128];
	char *error;
	size_t size;
};

enum {
	TEXT_MAX = 255
}; /* characters of any string but the hex of a test */

static int bad(struct reader *reader, const char *key, const char *what)
{
	return failed(reader->error, reader->size, EINVAL, "%s%s%s: %s", reader->path,
		      reader->path[0] ? "." : "", key, what);
}

static int no_memory(struct reader *reader)
{
	return failed(reader->error, reader->size, ENOMEM, "out of memory");
}

/* Appends "key[index]" to the path; the result goes to leave. */
static size_t enter(struct reader *reader, const char *key, size_t index)
{
	size_t length = strlen(reader->path);

	snprintf(reader->path + length, sizeof(reader->path) - length, "%s%s[%zu]",
		 length ? "." : "", key, index);
	return length;
}

static void leave(struct reader *reader, size_t length)
{
	reader->path[length] = '\0';
}

static int get_number(struct reader *reader, const json_t *object, const char *key, int64_t min,
		      int64_t max, int64_t *out)
{
	const json_t *value = json_object_get(object, key);
	char what[96];

	if (!json_is_integer(value))
		return bad(reader, key, "a whole number is missing");
	if (json_integer_value(value) < min || json_integer_value(value) > max) {
		snprintf(what, sizeof(what),
			 "%" JSON_INTEGER_FORMAT " is not within %" PRId64 "..%" PRId64,
			 json_integer_value(value), min, max);
		return bad(reader, key, what);
	}
	*out = json_integer_value(value);
	return 0;
}

static int get_u32(struct reader *reader, const json_t *object, const char *key, uint32_t min,
		   uint32_t max, uint32_t *out)
{
	int64_t number;
	int err = get_number(reader, object, key, min, max, &number);

	if (!err)
		*out = number;
	return err;
}

static int get_port(struct reader *reader, const json_t *object, const char *key, uint16_t *out)
{
	int64_t number;
	int err = get_number(reader, object, key, 1, UINT16_MAX, &number);

	if (!err)
		*out = number;
	return err;
}

/* C0 and C1 control characters would let a manifest talk to the terminal. The text is UTF-8. */
static bool printable(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0))
			return false;
	}
	return true;
}

static int check_text(struct reader *reader, const char *key, const json_t *value, const char **out)
{
	size_t length = json_string_length(value);

	if (!json_is_string(value))
		return bad(reader, key, "a text is missing");
	if (!length || length > TEXT_MAX)
		return bad(reader, key, "the text is empty or too long");
	if (!printable(json_string_value(value)))
		return bad(reader, key, "the text has control characters");
	*out = json_string_value(value);
	return 0;
}

static int get_text(struct reader *reader, const json_t *object, const char *key, const char **out)
{
	return check_text(reader, key, json_object_get(object, key), out);
}

/* Of the given length, if it is not 0; of hex digits alone. */
static int get_hex(struct reader *reader, const json_t *object, const char *key, size_t length,
		   const char **out)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);

	if (!json_is_string(value))
		return bad(reader, key, "hex digits are missing");
	if (length ? json_string_length(value) != length : json_string_length(value) % 2)
		return bad(reader, key, "not the right number of hex digits");
	for (const char *c = text; *c; c++) {
		if (!isxdigit((unsigned char)*c))
			return bad(reader, key, "not a hex digit");
	}
	*out = text;
	return 0;
}

/* The array of a key, of min to max elements; a missing one is an empty one if min is 0. */
static int get_array(struct reader *reader, const json_t *object, const char *key, size_t min,
		     size_t max, const json_t **out, size_t *count)
{
	const json_t *value = json_object_get(object, key);

	if (!value && !min) {
		*out = NULL;
		*count = 0;
		return 0;
	}
	if (!json_is_array(value))
		return bad(reader, key, "a list is missing");
	if (json_array_size(value) < min)
		return bad(reader, key, "the list is empty");
	if (json_array_size(value) > max)
		return bad(reader, key, "the list is too long");
	*out = value;
	*count = json_array_size(value);
	return 0;
}

static int get_texts(struct reader *reader, const json_t *object, const char *key, size_t min,
		     size_t max, const char ***out, size_t *out_count)
{
	SCOPED(scoped_free) const char **texts = NULL;
	const json_t *array;
	size_t count;
	int err;

	err = get_array(reader, object, key, min, max, &array, &count);
	if (err)
		return err;
	texts = calloc(count + 1, sizeof(*texts));
	if (!texts)
		return no_memory(reader);
	for (size_t i = 0; i < count; i++) {
		err = check_text(reader, key, json_array_get(array, i), &texts[i]);
		if (err)
			return err;
	}
	*out = TAKE(texts);
	*out_count = count;
	return 0;
}

/* Dotted names of the form that can become a path below /proc/sys and nothing else. */
static bool sysctl_name(const char *name)
{
	bool start = true;

	for (; *name; name++) {
		if (*name == '.') {
			if (start)
				return false;
			start = true;
		} else if (islower((unsigned char)*name) || isdigit((unsigned char)*name) ||
			   *name == '_') {
			start = false;
		} else {
			return false;
		}
	}
	return !start;
}

static int read_needs(struct reader *reader, const json_t *root, struct manifest *manifest)
{
	json_t *needs = json_object_get(root, "needs");
	json_t *sysctls, *constraint;
	const char *name;
	int err;

	if (!needs)
		return 0;
	if (!json_is_object(needs))
		return bad(reader, "needs", "not an object");
	err = get_texts(reader, needs, "kfuncs", 0, MANIFEST_REASONS, &manifest->kfuncs,
			&manifest->kfunc_count);
	if (err)
		return err;

	sysctls = json_object_get(needs, "sysctls");
	if (!sysctls)
		return 0;
	if (!json_is_object(sysctls))
		return bad(reader, "needs.sysctls", "not an object");
	manifest->sysctls = calloc(json_object_size(sysctls) + 1, sizeof(*manifest->sysctls));
	if (!manifest->sysctls)
		return no_memory(reader);
	json_object_foreach(sysctls, name, constraint)
	{
		struct manifest_sysctl *sysctl = &manifest->sysctls[manifest->sysctl_count];

		if (strlen(name) > TEXT_MAX || !sysctl_name(name))
			return bad(reader, "needs.sysctls", "not the name of a sysctl");
		if (!json_is_object(constraint))
			return bad(reader, "needs.sysctls", "not an object");
		err = get_number(reader, constraint, "min", INT32_MIN, INT32_MAX, &sysctl->min);
		if (err)
			return err;
		sysctl->name = name;
		manifest->sysctl_count++;
	}
	return 0;
}

static int read_address(struct reader *reader, const char *text, struct manifest_address *out)
{
	struct manifest_address address = {};
	char host[64], *slash, *end;
	unsigned long prefix, bits;

	if (strlen(text) >= sizeof(host))
		return bad(reader, "addresses", "not an address");
	strcpy(host, text);
	slash = strchr(host, '/');
	if (slash)
		*slash = '\0';
	if (inet_pton(AF_INET, host, address.bytes) == 1) {
		address.family = 4;
		bits = 32;
	} else if (inet_pton(AF_INET6, host, address.bytes) == 1) {
		address.family = 6;
		bits = 128;
	} else {
		return bad(reader, "addresses", "not an address");
	}
	prefix = bits;
	if (slash) {
		if (!isdigit((unsigned char)slash[1]))
			return bad(reader, "addresses", "not a prefix");
		prefix = strtoul(slash + 1, &end, 10);
		if (*end || prefix > bits)
			return bad(reader, "addresses", "not a prefix");
	}
	address.prefix = prefix;
	*out = address;
	return 0;
}

static int read_protocol(struct reader *reader, const char *key, const char *text, unsigned *out)
{
	if (!strcmp(text, "tcp"))
		*out = MANIFEST_TCP;
	else if (!strcmp(text, "udp"))
		*out = MANIFEST_UDP;
	else
		return bad(reader, key, "neither tcp nor udp");
	return 0;
}

static int read_protocols(struct reader *reader, const json_t *object,
			  struct manifest_listener *listener)
{
	SCOPED(scoped_free) const char **texts = NULL;
	size_t count;
	int err;

	err = get_texts(reader, object, "protocols", 1, 2, &texts, &count);
	for (size_t i = 0; !err && i < count; i++) {
		unsigned protocol = 0;

		err = read_protocol(reader, "protocols", texts[i], &protocol);
		if (!err)
			listener->protocols |= protocol;
	}
	return err;
}

/* There for udp alone. */
static int read_replies(struct reader *reader, const json_t *object,
			struct manifest_listener *listener)
{
	const char *text = "none";
	int err =
		json_object_get(object, "replies") ? get_text(reader, object, "replies", &text) : 0;

	if (err)
		return err;
	if (!strcmp(text, "tracked"))
		listener->replies = MANIFEST_TRACKED;
	else if (!strcmp(text, "stateless"))
		listener->replies = MANIFEST_STATELESS;
	else if (strcmp(text, "none"))
		return bad(reader, "replies", "neither tracked nor stateless nor none");
	return 0;
}

static int read_addresses(struct reader *reader, const json_t *object,
			  struct manifest_listener *listener)
{
	SCOPED(scoped_free) const char **texts = NULL;
	size_t count;
	int err;

	err = get_texts(reader, object, "addresses", 0, UINT16_MAX, &texts, &count);
	if (err)
		return err;
	listener->addresses = calloc(count + 1, sizeof(*listener->addresses));
	if (!listener->addresses)
		return no_memory(reader);
	listener->address_count = count;
	for (size_t i = 0; !err && i < count; i++)
		err = read_address(reader, texts[i], &listener->addresses[i]);
	return err;
}

static int read_ports(struct reader *reader, const json_t *object,
		      struct manifest_listener *listener)
{
	const json_t *array;
	int err;

	err = get_array(reader, object, "ports", 1, UINT16_MAX, &array, &listener->port_count);
	if (err)
		return err;
	listener->ports = calloc(listener->port_count, sizeof(*listener->ports));
	if (!listener->ports)
		return no_memory(reader);
	for (size_t i = 0; i < listener->port_count; i++) {
		const json_t *value = json_array_get(array, i);

		if (!json_is_integer(value) || json_integer_value(value) < 1 ||
		    json_integer_value(value) > UINT16_MAX)
			return bad(reader, "ports", "not a port");
		listener->ports[i] = json_integer_value(value);
	}
	return 0;
}

static int read_routes(struct reader *reader, const json_t *object,
		       struct manifest_listener *listener)
{
	const json_t *array;
	int err;

	err = get_array(reader, object, "routes", 0, UINT32_MAX, &array, &listener->route_count);
	if (err)
		return err;
	listener->routes = calloc(listener->route_count + 1, sizeof(*listener->routes));
	if (!listener->routes)
		return no_memory(reader);
	for (size_t i = 0; !err && i < listener->route_count; i++) {
		struct manifest_route *route = &listener->routes[i];
		const json_t *value = json_array_get(array, i);
		size_t outer = enter(reader, "routes", i);

		err = get_text(reader, value, "tag", &route->tag);
		if (!err)
			err = get_port(reader, value, "port", &route->port);
		if (!err)
			err = get_u32(reader, value, "counter", 0, UINT32_MAX, &route->counter);
		leave(reader, outer);
	}
	return err;
}

static int read_action(struct reader *reader, const json_t *object, const char *key,
		       enum manifest_expect *out)
{
	const char *action;
	int err = get_text(reader, object, key, &action);

	if (err)
		return err;
	if (!strcmp(action, "route"))
		*out = EXPECT_ROUTE;
	else if (!strcmp(action, "pass"))
		*out = EXPECT_PASS;
	else if (!strcmp(action, "refuse"))
		*out = EXPECT_REFUSE;
	else
		return bad(reader, key, "none of route, pass, refuse");
	return 0;
}

/* What is the listener's own goes into it as it is read; manifest_free finds it there. */
static int read_listener(struct reader *reader, const json_t *object,
			 struct manifest_listener *listener)
{
	int err;

	listener->otherwise = EXPECT_REFUSE;
	err = get_text(reader, object, "name", &listener->name);
	if (!err)
		err = read_protocols(reader, object, listener);
	if (!err)
		err = get_port(reader, object, "port", &listener->port);
	if (!err && json_object_get(object, "otherwise"))
		err = read_action(reader, object, "otherwise", &listener->otherwise);
	if (!err)
		err = read_replies(reader, object, listener);
	if (!err)
		err = get_u32(reader, object, "counters", 0, UINT32_MAX, &listener->counters);
	if (!err)
		err = read_addresses(reader, object, listener);
	if (!err)
		err = read_ports(reader, object, listener);
	if (!err)
		err = read_routes(reader, object, listener);
	return err;
}

static int read_listeners(struct reader *reader, const json_t *root, struct manifest *manifest)
{
	const json_t *array;
	size_t count;
	int err;

	err = get_array(reader, root, "listeners", 1, MANIFEST_LISTENERS, &array, &count);
	if (err)
		return err;
	manifest->listeners = calloc(count, sizeof(*manifest->listeners));
	if (!manifest->listeners)
		return no_memory(reader);
	manifest->listener_count = count;
	for (size_t i = 0; !err && i < count; i++) {
		size_t outer = enter(reader, "listeners", i);

		err = read_listener(reader, json_array_get(array, i), &manifest->listeners[i]);
		leave(reader, outer);
	}
	return err;
}

static int read_test_bytes(struct reader *reader, const json_t *object, struct manifest_test *test)
{
	const json_t *array;
	int err;

	err = get_array(reader, object, "bytes", 0, UINT16_MAX, &array, &test->bytes_count);
	if (err)
		return err;
	test->bytes = calloc(test->bytes_count + 1, sizeof(*test->bytes));
	if (!test->bytes)
		return no_memory(reader);
	for (size_t i = 0; !err && i < test->bytes_count; i++) {
		struct manifest_bytes *bytes = &test->bytes[i];
		const json_t *value = json_array_get(array, i);
		size_t outer = enter(reader, "bytes", i);

		err = get_u32(reader, value, "at", 0, test->length, &bytes->at);
		if (!err)
			err = get_hex(reader, value, "hex", 0, &bytes->hex);
		if (!err) {
			size_t length = strlen(bytes->hex) / 2;

			if (length > test->length - bytes->at)
				err = bad(reader, "hex", "reaches beyond the payload");
			else
				bytes->length = length;
		}
		leave(reader, outer);
	}
	return err;
}

static int read_expect(struct reader *reader, const json_t *object, struct manifest_test *test)
{
	int err = read_action(reader, object, "expect", &test->expect);

	if (!err && test->expect == EXPECT_ROUTE)
		err = get_port(reader, object, "port", &test->port);
	return err;
}

static int read_test(struct reader *reader, const json_t *object, const struct manifest *manifest,
		     struct manifest_test *test)
{
	const char *text;
	unsigned protocol = 0;
	int err;

	err = get_u32(reader, object, "listener", 0, manifest->listener_count - 1, &test->listener);
	if (!err)
		err = get_text(reader, object, "protocol", &text);
	if (!err)
		err = read_protocol(reader, "protocol", text, &protocol);
	if (err)
		return err;
	if (!(manifest->listeners[test->listener].protocols & protocol))
		return bad(reader, "protocol", "not one of the listener's");
	test->protocol = protocol;
	err = get_u32(reader, object, "line", 1, UINT32_MAX, &test->line);
	if (!err)
		err = get_u32(reader, object, "length", 0, MANIFEST_PAYLOAD, &test->length);
	if (!err)
		err = read_test_bytes(reader, object, test);
	if (!err)
		err = read_expect(reader, object, test);
	return err;
}

static int read_tests(struct reader *reader, const json_t *root, struct manifest *manifest)
{
	const json_t *array;
	size_t count;
	int err;

	err = get_array(reader, root, "tests", 0, UINT32_MAX, &array, &count);
	if (err)
		return err;
	manifest->tests = calloc(count + 1, sizeof(*manifest->tests));
	if (!manifest->tests)
		return no_memory(reader);
	manifest->test_count = count;
	for (size_t i = 0; !err && i < count; i++) {
		size_t outer = enter(reader, "tests", i);

		err = read_test(reader, json_array_get(array, i), manifest, &manifest->tests[i]);
		leave(reader, outer);
	}
	return err;
}

static int read_manifest(struct reader *reader, const json_t *root, struct manifest *manifest)
{
	const json_t *rules = json_object_get(root, "rules");
	int64_t format;
	int err;

	/* First, because a newer format may mean anything by the other keys. */
	err = get_number(reader, root, "format", 1, INT64_MAX, &format);
	if (err)
		return err;
	if (format > MANIFEST_FORMAT)
		return failed(reader->error, reader->size, ENOTSUP,
			      "its manifest has format %" PRId64
			      ", and this mplex-run reads up to format %d: use the mplex-run that "
			      "came with the mplexc that made it",
			      format, MANIFEST_FORMAT);
	err = get_text(reader, root, "version", &manifest->version);
	if (!err)
		err = get_text(reader, rules, "file", &manifest->rules_file);
	if (!err)
		err = get_hex(reader, rules, "sha256", 64, &manifest->rules_sha256);
	if (!err)
		err = read_needs(reader, root, manifest);
	if (!err)
		err = get_texts(reader, root, "reasons", 1, MANIFEST_REASONS, &manifest->reasons,
				&manifest->reason_count);
	if (!err)
		err = get_texts(reader, root, "ingress_reasons", 0, MANIFEST_REASONS,
				&manifest->ingress_reasons, &manifest->ingress_reason_count);
	if (!err)
		err = get_texts(reader, root, "refusals", 0, 2 * MANIFEST_REASONS,
				&manifest->refusals, &manifest->refusal_count);
	if (!err)
		err = read_listeners(reader, root, manifest);
	if (!err)
		err = read_tests(reader, root, manifest);
	return err;
}

int manifest_parse(const void *data, size_t size, struct manifest *out, char *error, size_t n)
{
	SCOPED(manifest_free) struct manifest manifest = {};
	struct reader reader = {.error = error, .size = n};
	const char *end = size ? memchr(data, '\0', size) : NULL;
	json_error_t where;
	int err;

	if (!end)
		return failed(error, n, EINVAL, "the manifest has no end");
	errno = 0;
	manifest.document =
		json_loadb(data, end - (const char *)data, JSON_REJECT_DUPLICATES, &where);
	if (!manifest.document && errno == ENOMEM)
		return no_memory(&reader);
	if (!manifest.document)
		return failed(error, n, EINVAL, "the manifest is not JSON: line %d, column %d",
			      where.line, where.column);
	err = read_manifest(&reader, manifest.document, &manifest);
	if (err)
		return err;
	*out = manifest;
	memset(&manifest, 0, sizeof(manifest));
	return 0;
}

void manifest_free(struct manifest *manifest)
{
	for (size_t i = 0; i < manifest->listener_count; i++) {
		free(manifest->listeners[i].addresses);
		free(manifest->listeners[i].ports);
		free(manifest->listeners[i].routes);
	}
	for (size_t i = 0; i < manifest->test_count; i++)
		free(manifest->tests[i].bytes);
	free(manifest->listeners);
	free(manifest->tests);
	free(manifest->kfuncs);
	free(manifest->sysctls);
	free(manifest->reasons);
	free(manifest->ingress_reasons);
	free(manifest->refusals);
	json_decref(manifest->document);
	memset(manifest, 0, sizeof(*manifest));
}

int manifest_check_counters(const struct manifest *manifest, uint32_t counters,
			    uint32_t ingress_counters, char *error, size_t n)
{
	/* Both factors are bounded by the parser. */
	if (ingress_counters &&
	    manifest->listener_count * manifest->ingress_reason_count > ingress_counters)
		return failed(error, n, EINVAL, "its map ingress_counters is too small");

	for (size_t i = 0; i < manifest->listener_count; i++) {
		const struct manifest_listener *listener = &manifest->listeners[i];

		if ((uint64_t)listener->counters + manifest->reason_count > counters)
			return failed(error, n, EINVAL,
				      "listeners[%zu].counters: beyond the map counters, which has "
				      "%" PRIu32 " entries",
				      i, counters);
		for (size_t j = 0; j < listener->route_count; j++) {
			if (listener->routes[j].counter >= counters)
				return failed(error, n, EINVAL,
					      "listeners[%zu].routes[%zu].counter: beyond the map "
					      "counters, which has %" PRIu32 " entries",
					      i, j, counters);
		}
	}
	return 0;
}

static uint8_t nibble(char digit)
{
	return isdigit((unsigned char)digit) ? digit - '0' : (digit | 0x20) - 'a' + 10;
}

void manifest_test_payload(const struct manifest_test *test, uint8_t *payload)
{
	memset(payload, 0, test->length);
	for (size_t i = 0; i < test->bytes_count; i++) {
		const struct manifest_bytes *bytes = &test->bytes[i];

		for (uint32_t j = 0; j < bytes->length; j++)
			payload[bytes->at + j] =
				nibble(bytes->hex[2 * j]) << 4 | nibble(bytes->hex[2 * j + 1]);
	}
}

bool manifest_refuses(const struct manifest *manifest, const struct manifest_listener *listener,
		      const char *reason)
{
	if (!strcmp(reason, "tag") && listener->otherwise != EXPECT_REFUSE)
		return false;
	for (size_t i = 0; i < manifest->refusal_count; i++) {
		if (!strcmp(manifest->refusals[i], reason))
			return true;
	}
	return false;
}

bool manifest_has(const struct manifest *manifest, enum manifest_protocol protocol)
{
	for (size_t i = 0; i < manifest->listener_count; i++) {
		if (manifest->listeners[i].protocols & protocol)
			return true;
	}
	return false;
}
