/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The manifest's reader: what it takes, and that it takes nothing else. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "manifest.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char good[] =
	"{\"format\":1,\"version\":\"0.1.0\","
	"\"rules\":{\"file\":\"feed.yaml\",\"sha256\":\"" DIGEST "\"},"
	"\"needs\":{\"kfuncs\":[\"bpf_sk_assign_tcp_reqsk\"],"
	"\"sysctls\":{\"net.ipv4.tcp_syncookies\":{\"min\":1}}},"
	"\"reasons\":[\"routed\",\"tag\"],\"ingress_reasons\":[\"no-listener\"],"
	"\"refusals\":[\"tag\",\"no-listener\"],"
	"\"listeners\":[{\"name\":\"feed\",\"protocols\":[\"tcp\",\"udp\"],\"port\":5000,"
	"\"addresses\":[\"192.0.2.0/24\",\"2001:db8::1\"],\"replies\":\"tracked\",\"counters\":4,"
	"\"otherwise\":\"refuse\","
	"\"ports\":[5001,5002],\"routes\":[{\"tag\":\"600\",\"port\":5001,\"counter\":6}]}],"
	"\"tests\":[{\"listener\":0,\"protocol\":\"udp\",\"line\":14,\"length\":8,"
	"\"bytes\":[{\"at\":2,\"hex\":\"0aFf\"},{\"at\":3,\"hex\":\"01\"}],"
	"\"expect\":\"route\",\"port\":5001},"
	"{\"listener\":0,\"protocol\":\"tcp\",\"line\":15,\"length\":0,\"bytes\":[],"
	"\"expect\":\"refuse\"}],"
	"\"later\":\"unknown keys are ignored\"}";

/*
 * Parses size bytes in memory that ends behind them, so that a sanitizer sees a read too far. On
 * failure *out has to be as it was, and there has to be a sentence.
 */
static int parse_bytes(const void *data, size_t size, struct manifest *out, char *error, size_t n)
{
	char *copy = malloc(size ? size : 1);
	struct manifest before;
	int err;

	memset(out, 0x5a, sizeof(*out));
	before = *out;
	memcpy(copy, data, size);
	error[0] = '\0';
	err = manifest_parse(copy, size, out, error, n);
	free(copy);
	if (err) {
		assert_memory_equal(out, &before, sizeof(before));
		assert_true(strlen(error) > 0);
	}
	return err;
}

static int parse(const char *text, struct manifest *out, char *error, size_t n)
{
	return parse_bytes(text, strlen(text) + 1, out, error, n);
}

static void test_good(void **state)
{
	struct manifest manifest;
	const struct manifest_listener *listener;
	const struct manifest_test *test;
	uint8_t payload[8];
	char error[256];

	(void)state;
	assert_int_equal(parse(good, &manifest, error, sizeof(error)), 0);
	assert_string_equal(manifest.version, "0.1.0");
	assert_string_equal(manifest.rules_file, "feed.yaml");
	assert_string_equal(manifest.rules_sha256, DIGEST);
	assert_int_equal(manifest.kfunc_count, 1);
	assert_string_equal(manifest.kfuncs[0], "bpf_sk_assign_tcp_reqsk");
	assert_int_equal(manifest.sysctl_count, 1);
	assert_string_equal(manifest.sysctls[0].name, "net.ipv4.tcp_syncookies");
	assert_int_equal(manifest.sysctls[0].min, 1);
	assert_int_equal(manifest.reason_count, 2);
	assert_int_equal(manifest.ingress_reason_count, 1);
	assert_int_equal(manifest.refusal_count, 2);

	assert_int_equal(manifest.listener_count, 1);
	listener = &manifest.listeners[0];
	assert_string_equal(listener->name, "feed");
	assert_int_equal(listener->protocols, MANIFEST_TCP | MANIFEST_UDP);
	assert_int_equal(listener->port, 5000);
	assert_int_equal(listener->counters, 4);
	assert_int_equal(listener->address_count, 2);
	assert_int_equal(listener->addresses[0].family, 4);
	assert_int_equal(listener->addresses[0].prefix, 24);
	assert_memory_equal(listener->addresses[0].bytes, "\xc0\x00\x02\x00", 4);
	assert_int_equal(listener->addresses[1].family, 6);
	assert_int_equal(listener->addresses[1].prefix, 128);
	assert_int_equal(listener->port_count, 2);
	assert_int_equal(listener->ports[1], 5002);
	assert_int_equal(listener->route_count, 1);
	assert_string_equal(listener->routes[0].tag, "600");
	assert_int_equal(listener->routes[0].counter, 6);

	assert_int_equal(manifest.test_count, 2);
	test = &manifest.tests[0];
	assert_int_equal(test->protocol, MANIFEST_UDP);
	assert_int_equal(test->line, 14);
	assert_int_equal(test->length, 8);
	assert_int_equal(test->expect, EXPECT_ROUTE);
	assert_int_equal(test->port, 5001);
	manifest_test_payload(test, payload);
	assert_memory_equal(payload, "\0\0\x0a\x01\0\0\0\0", 8);
	assert_int_equal(manifest.tests[1].expect, EXPECT_REFUSE);
	assert_true(manifest_has(&manifest, MANIFEST_TCP));
	manifest_free(&manifest);
	manifest_free(&manifest); /* harmless once zeroed */
}

static void test_least(void **state)
{
	struct manifest manifest;
	char error[256];

	(void)state;
	assert_int_equal(parse("{\"format\":1,\"version\":\"0\",\"rules\":{\"file\":\"f\","
			       "\"sha256\":\"" DIGEST "\"},\"reasons\":[\"routed\"],"
			       "\"listeners\":[{\"name\":\"a\",\"protocols\":[\"udp\"],\"port\":1,"
			       "\"addresses\":[],\"counters\":0,\"ports\":[65535]}],\"tests\":[]}",
			       &manifest, error, sizeof(error)),
			 0);
	assert_false(manifest_has(&manifest, MANIFEST_TCP));
	assert_int_equal(manifest.ingress_reason_count, 0);
	assert_int_equal(manifest.sysctl_count, 0);
	manifest_free(&manifest);
}

/* One place of the good manifest changed, and a word that the sentence must have. */
static const struct {
	const char *from, *to, *word;
} lies[] = {
	{"\"format\":1", "\"format\":0", "format"},
	{"\"format\":1", "\"format\":\"1\"", "format"},
	{"\"format\":1", "\"format\":1.5", "format"},
	{"\"format\":1", "\"format\":99999999999999999999", "JSON"},
	{"\"format\":1", "\"format\":1,\"format\":1", "JSON"},
	{"\"format\":1,", "", "format"},
	{"{\"format\"", "[{\"format\"", "JSON"},
	{"\"0.1.0\"", "\"\"", "version"},
	{"\"0.1.0\"", "\"\\u001b[2J\"", "version: the text has control"},
	{"\"0.1.0\"", "\"\\u009b2J\"", "version: the text has control"},
	{"\"0.1.0\"", "\"a\\u0000b\"", "JSON"},
	{"\"0.1.0\"", "\"\xff\"", "JSON"},
	{"{\"file\":\"feed.yaml\"", "{\"file\":7", "file"},
	{"\"sha256\":\"0123", "\"sha256\":\"012", "sha256"},
	{"\"sha256\":\"0123", "\"sha256\":\"012g", "sha256"},
	{"\"kfuncs\":[", "\"kfuncs\":[1,", "kfuncs"},
	{"\"kfuncs\":[\"bpf_sk_assign_tcp_reqsk\"]", "\"kfuncs\":{}", "kfuncs"},
	{"\"net.ipv4.tcp_syncookies\"", "\"../../etc/passwd\"", "sysctls"},
	{"\"net.ipv4.tcp_syncookies\"", "\"net..tcp_syncookies\"", "sysctls"},
	{"\"net.ipv4.tcp_syncookies\"", "\".net\"", "sysctls"},
	{"\"net.ipv4.tcp_syncookies\"", "\"net/ipv4\"", "sysctls"},
	{"{\"min\":1}", "{\"min\":-9999999999}", "min"},
	{"{\"min\":1}", "1", "sysctls"},
	{"\"reasons\":[\"routed\",\"tag\"],", "", "reasons"},
	{"\"reasons\":[\"routed\",\"tag\"]", "\"reasons\":[]", "reasons"},
	{"\"listeners\":[", "\"listeners\":[7,", "listeners[0].name"},
	{"\"listeners\":[", "\"listeners\":[],\"was\":[", "listeners"},
	{"[\"tcp\",\"udp\"]", "[\"tcp\",\"sctp\"]", "protocols"},
	{"[\"tcp\",\"udp\"]", "[]", "protocols"},
	{"\"port\":5000", "\"port\":0", "listeners[0].port"},
	{"\"port\":5000", "\"port\":65536", "65536 is not within 1..65535"},
	{"\"port\":5000", "\"port\":-1", "listeners[0].port"},
	{"\"refusals\":[", "\"refusals\":[1,", "refusals"},
	{"\"otherwise\":\"refuse\"", "\"otherwise\":\"drop\"", "listeners[0].otherwise"},
	{"\"otherwise\":\"refuse\"", "\"otherwise\":5001", "listeners[0].otherwise"},
	{"\"counters\":4", "\"counters\":-1", "listeners[0].counters"},
	{"\"counters\":4", "\"counters\":4294967296", "listeners[0].counters"},
	{"192.0.2.0/24", "192.0.2.0/33", "addresses"},
	{"192.0.2.0/24", "192.0.2.0/-1", "addresses"},
	{"192.0.2.0/24", "192.0.2.0/", "addresses"},
	{"192.0.2.0/24", "192.0.2.0/2x", "addresses"},
	{"192.0.2.0/24", "192.0.2", "addresses"},
	{"2001:db8::1", "2001:db8::1/129", "addresses"},
	{"\"ports\":[5001,5002]", "\"ports\":[5001,70000]", "ports"},
	{"\"ports\":[5001,5002]", "\"ports\":[]", "ports"},
	{"\"tag\":\"600\"", "\"tag\":600", "listeners[0].routes[0].tag"},
	{"\"counter\":6", "\"counter\":1e3", "listeners[0].routes[0].counter"},
	{"\"listener\":0,\"protocol\":\"udp\"", "\"listener\":1,\"protocol\":\"udp\"",
	 "tests[0].listener"},
	{"\"protocol\":\"udp\"", "\"protocol\":\"icmp\"", "tests[0].protocol"},
	{"\"protocols\":[\"tcp\",\"udp\"]", "\"protocols\":[\"tcp\"]", "tests[0].protocol"},
	{"\"line\":14", "\"line\":0", "tests[0].line"},
	{"\"length\":8", "\"length\":65508", "tests[0].length"},
	{"\"length\":8", "\"length\":3", "tests[0].bytes[0].hex"},
	{"\"at\":2", "\"at\":9", "tests[0].bytes[0].at"},
	{"\"at\":2", "\"at\":7", "tests[0].bytes[0].hex"},
	{"\"hex\":\"0aFf\"", "\"hex\":\"0aF\"", "tests[0].bytes[0].hex"},
	{"\"hex\":\"0aFf\"", "\"hex\":\"0aFx\"", "tests[0].bytes[0].hex"},
	{"\"expect\":\"route\"", "\"expect\":\"drop\"", "tests[0].expect"},
	{"\"expect\":\"route\",\"port\":5001", "\"expect\":\"route\"", "tests[0].port"},
};

static char *replace(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *result = malloc(strlen(text) + strlen(to) + 1);

	assert_non_null(at);
	sprintf(result, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	return result;
}

static void test_lies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		char *text = replace(good, lies[i].from, lies[i].to);
		struct manifest manifest;
		char error[256];
		int err = parse(text, &manifest, error, sizeof(error));

		free(text);
		if (err != -EINVAL || !strstr(error, lies[i].word))
			fail_msg("%s -> %s: %d, %s", lies[i].from, lies[i].to, err, error);
	}
}

static void test_refuses(void **state)
{
	char *routing = replace(good, "\"otherwise\":\"refuse\"", "\"otherwise\":\"route\"");
	struct manifest manifest;
	char error[256];

	(void)state;
	assert_int_equal(parse(good, &manifest, error, sizeof(error)), 0);
	assert_true(manifest_refuses(&manifest, &manifest.listeners[0], "tag"));
	assert_true(manifest_refuses(&manifest, &manifest.listeners[0], "no-listener"));
	assert_false(manifest_refuses(&manifest, &manifest.listeners[0], "routed"));
	manifest_free(&manifest);
	assert_int_equal(parse(routing, &manifest, error, sizeof(error)), 0);
	assert_false(manifest_refuses(&manifest, &manifest.listeners[0], "tag"));
	assert_true(manifest_refuses(&manifest, &manifest.listeners[0], "no-listener"));
	manifest_free(&manifest);
	free(routing);
}

static void test_newer(void **state)
{
	/* All else may mean something new by then. */
	const char newer[] = "{\"format\":2,\"listeners\":7}";
	struct manifest manifest;
	char error[256];

	(void)state;
	assert_int_equal(parse(newer, &manifest, error, sizeof(error)), -ENOTSUP);
	assert_non_null(strstr(error, "format 2"));
}

/* Cut off at any byte, and with any byte changed to a few others, it never reads outside. */
static void test_damaged(void **state)
{
	struct manifest manifest;
	char error[256];

	(void)state;
	for (size_t size = 0; size < sizeof(good); size++)
		assert_int_equal(parse_bytes(good, size, &manifest, error, sizeof(error)), -EINVAL);
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		for (const char *change = "0\"}\x80"; *change; change++) {
			char *text = strdup(good);

			text[i] = *change;
			if (!parse(text, &manifest, error, sizeof(error)))
				manifest_free(&manifest);
			free(text);
		}
	}
}

static void test_short_error(void **state)
{
	struct manifest manifest;
	char error[8];

	(void)state;
	assert_int_equal(parse("{}", &manifest, error, sizeof(error)), -EINVAL);
	assert_true(strlen(error) < sizeof(error));
}

static void test_deep(void **state)
{
	const size_t depth = 1 << 20;
	struct manifest manifest;
	char error[256], *text = malloc(depth + 1);

	(void)state;
	memset(text, '[', depth);
	text[depth] = '\0';
	assert_int_equal(parse(text, &manifest, error, sizeof(error)), -EINVAL);
	free(text);
}

/* The good manifest: its last reason has index 5, its route 6; one ingress reason. */
static void test_counters(void **state)
{
	struct manifest manifest;
	char error[256];

	(void)state;
	assert_int_equal(parse(good, &manifest, error, sizeof(error)), 0);
	assert_int_equal(manifest_check_counters(&manifest, 7, 1, error, sizeof(error)), 0);
	assert_int_equal(manifest_check_counters(&manifest, 7, 0, error, sizeof(error)), 0);
	assert_int_equal(manifest_check_counters(&manifest, 6, 1, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "routes[0]"));
	assert_int_equal(manifest_check_counters(&manifest, 5, 1, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "listeners[0].counters"));
	manifest.listeners[0].counters = UINT32_MAX;
	assert_int_equal(manifest_check_counters(&manifest, 7, 1, error, sizeof(error)), -EINVAL);
	manifest.listeners[0].counters = 4;
	manifest.ingress_reason_count = 2;
	assert_int_equal(manifest_check_counters(&manifest, 7, 1, error, sizeof(error)), -EINVAL);
	manifest_free(&manifest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	cmocka_unit_test(test_least),
		cmocka_unit_test(test_lies),	cmocka_unit_test(test_newer),
		cmocka_unit_test(test_damaged), cmocka_unit_test(test_short_error),
		cmocka_unit_test(test_deep),	cmocka_unit_test(test_counters),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
