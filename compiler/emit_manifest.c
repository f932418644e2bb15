/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The manifest: what a loader must know of the program, as JSON in a section of its own
 * (docs/object.md). It stands in the source as a string, one thing to a line, so that its diff can
 * be read like the rest.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "emit.h"
#include "emit_stages.h"
#include "plan.h"
#include "version.h"

enum {
	MANIFEST_FORMAT = 1,
};

static const char *const ingress_reasons[] = {"delivered", "no-listener", "mptcp-listener",
					      "backlog",   "replay",	  "not-taken"};

/* Of both lists: the message reaches no server. "tag" only where `otherwise` is to refuse. */
static const char *const refusals[] = {"tag",	   "length",	  "require",	    "malformed",
				       "fragment", "late",	  "stray",	    "no-way-back",
				       "no-key",   "no-listener", "mptcp-listener", "backlog",
				       "replay",   "not-taken"};

struct manifest {
	FILE *out;
	/* For lack of memory: a value that is missing in another makes that one missing, too. */
	bool failed;
};

/* A line of the C string. */
static void put_text(struct manifest *m, const char *before, const char *middle, const char *after)
{
	const char *pieces[] = {before, middle, after};

	fputs("\t\"", m->out);
	for (size_t i = 0; i < 3; i++) {
		for (const char *at = pieces[i]; *at; at++) {
			if (*at == '"' || *at == '\\')
				fputc('\\', m->out);
			fputc(*at, m->out);
		}
	}
	fputs("\\n\"\n", m->out);
}

/*
 * A value, which it takes over, as JSON, to be freed; NULL for lack of memory. json_dumps does not
 * see it when there was none for the name of a member (jansson 2.14).
 */
static char *dump(struct manifest *m, json_t *value)
{
	const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII;
	size_t size = json_dumpb(value, NULL, 0, flags);
	char *text = size ? calloc(size + 1, 1) : NULL;

	if (!text || json_dumpb(value, text, size, flags) != size) {
		m->failed = true;
		free(text);
		text = NULL;
	}
	json_decref(value);
	return text;
}

/* A line with a value, which it takes over, between two pieces of text. */
static void put_line(struct manifest *m, const char *before, json_t *value, const char *after)
{
	char *text = dump(m, value);

	if (text)
		put_text(m, before, text, after);
	free(text);
}

/* The same for an object that stays open for more members. */
static void put_open(struct manifest *m, json_t *object, const char *after)
{
	char *text = dump(m, object);

	if (text) {
		text[strlen(text) - 1] = '\0';
		put_text(m, text, after, "");
	}
	free(text);
}

/* One more member of an object, which takes the value over. */
static void set(struct manifest *m, json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value))
		m->failed = true;
}

static json_t *names(struct manifest *m, const char *const *names, size_t count)
{
	json_t *list = json_pack("[]");

	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(list, json_string(names[i])))
			m->failed = true;
	return list;
}

static bool is_refusal(const char *reason)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++)
		if (!strcmp(refusals[i], reason))
			return true;
	return false;
}

/* Those of a list of reasons that are refusals, added to another. */
static void add_refusals(struct manifest *m, json_t *list, const char *const *reasons, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_refusal(reasons[i]) && json_array_append_new(list, json_string(reasons[i])))
			m->failed = true;
}

static json_t *protocols(struct manifest *m, const struct listener *listener)
{
	static const char *const both[] = {"tcp", "udp"};

	if (listener->protocols == PROTOCOL_TCP)
		return names(m, both, 1);
	if (listener->protocols == PROTOCOL_UDP)
		return names(m, both + 1, 1);
	return names(m, both, 2);
}

static json_t *addresses(struct manifest *m, const struct listener *listener)
{
	json_t *list = json_pack("[]");

	for (size_t i = 0; i < listener->address_count; i++) {
		const struct address *address = &listener->addresses[i];
		char text[INET6_ADDRSTRLEN + 8];

		inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->bytes, text,
			  INET6_ADDRSTRLEN);
		sprintf(text + strlen(text), "/%u", address->prefix);
		if (json_array_append_new(list, json_string(text)))
			m->failed = true;
	}
	return list;
}

static int compare_ports(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static json_t *ports(struct manifest *m, const struct listener *listener)
{
	uint16_t *all = calloc(listener->route_count + 1, sizeof(*all));
	json_t *list = json_pack("[]");
	size_t count = 0;

	if (!all) {
		m->failed = true;
		return list;
	}
	for (size_t i = 0; i < listener->route_count; i++)
		all[count++] = listener->routes[i].port;
	if (listener->otherwise.kind == ACTION_ROUTE)
		all[count++] = listener->otherwise.port;
	if (listener->otherwise.kind == ACTION_PASS)
		all[count++] = listener->port;
	qsort(all, count, sizeof(*all), compare_ports);
	for (size_t i = 0; i < count; i++)
		if ((!i || all[i] != all[i - 1]) &&
		    json_array_append_new(list, json_integer(all[i])))
			m->failed = true;
	free(all);
	return list;
}

static const char *reply_mode(const struct listener *listener)
{
	static const char *const modes[] = {
		[REPLIES_TRACKED] = "tracked",
		[REPLIES_STATELESS] = "stateless",
		[REPLIES_NONE] = "none",
	};

	return listener->protocols & PROTOCOL_UDP ? modes[listener->replies] : NULL;
}

static const char *const actions[] = {
	[ACTION_ROUTE] = "route",
	[ACTION_PASS] = "pass",
	[ACTION_REFUSE] = "refuse",
};

static void put_listener(struct manifest *m, const struct listener_plan *planned, bool last)
{
	const struct listener *listener = planned->listener;
	const char *mode = reply_mode(listener);
	json_t *head = json_pack("{s:s, s:o, s:i, s:o}", "name", listener->name, "protocols",
				 protocols(m, listener), "port", listener->port, "addresses",
				 addresses(m, listener));

	if (mode)
		set(m, head, "replies", json_string(mode));
	set(m, head, "otherwise", json_string(actions[listener->otherwise.kind]));
	set(m, head, "counters", json_integer(planned->counters));
	set(m, head, "ports", ports(m, listener));
	put_open(m, head, planned->count_routes ? ",\"routes\":[" : "");
	for (size_t i = 0; planned->count_routes && i < listener->route_count; i++) {
		const struct route *route = &listener->routes[i];

		put_line(m, "",
			 json_pack("{s:s, s:i, s:i}", "tag", route->text, "port", route->port,
				   "counter", (int)(planned->route_counters + i)),
			 i + 1 < listener->route_count ? "," : "]");
	}
	put_text(m, last ? "}" : "},", "", "");
}

static void put_hex(char *text, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
}

static void append_bytes(struct manifest *m, json_t *list, uint32_t at, const uint8_t *bytes,
			 size_t length)
{
	char *hex = calloc(2 * length + 1, 1);

	if (hex)
		put_hex(hex, bytes, length);
	if (!hex || json_array_append_new(list, json_pack("{s:i, s:s}", "at", (int)at, "hex", hex)))
		m->failed = true;
	free(hex);
}

/* What a test writes over the zeros: every requirement that fits, then its own bytes. */
static json_t *test_bytes(struct manifest *m, const struct listener *listener,
			  const struct test *test)
{
	json_t *list = json_pack("[]");

	for (size_t i = 0; i < listener->require_count; i++) {
		const struct require *require = &listener->requires[i];

		if (require->offset + require->length <= test->length)
			append_bytes(m, list, require->offset, require->bytes, require->length);
	}
	for (size_t i = 0; i < test->at_count; i++)
		append_bytes(m, list, test->at[i].offset, test->at[i].bytes, test->at[i].length);
	return list;
}

static void put_test(struct manifest *m, size_t number, const struct listener *listener,
		     const struct test *test, const char *protocol, bool *first)
{
	json_t *object;

	object = json_pack("{s:i, s:s, s:i, s:i, s:o, s:s}", "listener", (int)number, "protocol",
			   protocol, "line", (int)test->line, "length", (int)test->length, "bytes",
			   test_bytes(m, listener, test), "expect", actions[test->expect.kind]);
	if (test->expect.kind == ACTION_ROUTE)
		set(m, object, "port", json_integer(test->expect.port));
	put_line(m, *first ? "" : ",", object, "");
	*first = false;
}

static void put_tests(struct manifest *m, const struct rules *rules)
{
	bool first = true;

	for (size_t i = 0; i < rules->listener_count; i++) {
		const struct listener *listener = &rules->listeners[i];

		for (size_t j = 0; j < listener->test_count; j++) {
			if (listener->protocols & PROTOCOL_TCP)
				put_test(m, i, listener, &listener->tests[j], "tcp", &first);
			if (listener->protocols & PROTOCOL_UDP)
				put_test(m, i, listener, &listener->tests[j], "udp", &first);
		}
	}
}

static json_t *needs(const struct plan *plan)
{
	if (!plan->tcp)
		return json_pack("{}");
	return json_pack("{s:[s], s:{s:{s:i}}}", "kfuncs", "bpf_sk_assign_tcp_reqsk", "sysctls",
			 "net.ipv4.tcp_syncookies", "min", 1);
}

int emit_manifest(const struct plan *plan, FILE *out)
{
	const struct rules *rules = plan->rules;
	struct manifest m = {.out = out};
	size_t ingress_count = sizeof(ingress_reasons) / sizeof(*ingress_reasons);
	json_t *refused = json_pack("[]");
	char sha256[65];

	put_hex(sha256, rules->sha256, 32);
	fputs("/* What mplex-run must know: docs/object.md. */\n"
	      "const char mplex_manifest[] SEC(\".mplex\") =\n",
	      out);
	put_line(&m, "{\"format\":", json_integer(MANIFEST_FORMAT),
		 ",\"version\":\"" MPLEX_VERSION "\",");
	put_line(&m, "\"rules\":", json_pack("{s:s, s:s}", "file", rules->file, "sha256", sha256),
		 ",");
	put_line(&m, "\"needs\":", needs(plan), ",");
	put_line(&m, "\"reasons\":", names(&m, plan->reasons, reason_count(plan->reasons)), ",");
	if (plan->tcp)
		put_line(&m, "\"ingress_reasons\":", names(&m, ingress_reasons, ingress_count),
			 ",");
	add_refusals(&m, refused, plan->reasons, reason_count(plan->reasons));
	if (plan->tcp)
		add_refusals(&m, refused, ingress_reasons, ingress_count);
	put_line(&m, "\"refusals\":", refused, ",");
	put_text(&m, "\"listeners\":[", "", "");
	for (size_t i = 0; i < rules->listener_count; i++)
		put_listener(&m, &plan->listeners[i], i + 1 == rules->listener_count);
	put_text(&m, "],", "", "");
	put_text(&m, "\"tests\":[", "", "");
	put_tests(&m, rules);
	put_text(&m, "]}", "", "");
	fputs("\t\"\";\n", out);
	return m.failed ? -ENOMEM : 0;
}
