/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rule tests: what `mplexc --test` says about the examples of a rule file. The rule files come
 * through the front end, so that places are the real ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../compiler/diagnostic.h"
#include "../../compiler/rules.h"
#include "../../compiler/source.h"
#include "../../compiler/testing.h"

#define FEED                      \
	"version: 1\n"            \
	"listeners:\n"            \
	"  feed:\n"               \
	"    port: 5000\n"        \
	"    length: 290..294\n"  \
	"    tag: {offset: 20}\n" \
	"    routes: {\"600\": 5001, \"601\": 5002}\n"

/* Runs the tests of a rule file and compares the number of failures and the output. */
static void expect(const char *text, int failures, const char *output)
{
	struct diagnostics diagnostics = {0};
	struct source source;
	struct rules rules;
	char *got = NULL;
	size_t size;
	FILE *out = open_memstream(&got, &size);

	assert_non_null(out);
	assert_int_equal(0, source_from_bytes("a/rules.yaml", text, strlen(text), &source));
	if (rules_read(&source, &diagnostics, &rules)) {
		diagnostics_print(&diagnostics, &source, DIAGNOSTICS_TEXT, stderr);
		fail();
	}
	assert_int_equal(failures, rule_tests_run(&rules, &source, out));
	fclose(out);
	assert_string_equal(output, got);
	free(got);
	rules_free(&rules);
	diagnostics_free(&diagnostics);
	source_free(&source);
}

static void test_passing(void **state)
{
	(void)state;
	expect(FEED "    protocol: udp\n"
		    "    tests:\n"
		    "      - {payload: {length: 292, at: {20: \"601\"}}, expect: 5002}\n"
		    "      - {payload: {length: 292, at: {20: \"999\"}}, expect: refuse}\n"
		    "      - {payload: {length: 295, at: {20: \"600\"}}, expect: refuse}\n",
	       0, "a/rules.yaml: 3 tests passed\n");
}

static void test_failing(void **state)
{
	(void)state;
	expect(FEED "    protocol: udp\n"
		    "    tests:\n"
		    "      - {payload: {length: 292, at: {20: \"601\"}}, expect: 5001}\n"
		    "      - {payload: {length: 292, at: {20: \"601\"}}, expect: 5002}\n"
		    "      - {payload: {length: 295, at: {20: \"600\"}}, expect: 5001}\n"
		    "      - {payload: {length: 292, at: {20: \"999\"}}, expect: 5001}\n"
		    "      - {payload: {length: 290, at: {20: \"600\"}}, expect: refuse}\n",
	       4,
	       "a/rules.yaml:10:9: test failed by udp: expected port 5001, got port 5002 (tag 601)\n"
	       "a/rules.yaml:12:9: test failed by udp: expected port 5001, got refuse (reason: "
	       "length)\n"
	       "a/rules.yaml:13:9: test failed by udp: expected port 5001, got refuse (reason: "
	       "tag)\n"
	       "a/rules.yaml:14:9: test failed by udp: expected refuse, got port 5001 (tag 600)\n"
	       "a/rules.yaml: 4 of 5 tests failed\n");
}

static void test_no_tests(void **state)
{
	(void)state;
	expect(FEED "    protocol: tcp\n", 0, "a/rules.yaml: no tests\n");
}

/* Twice the length: two messages in one segment, and no datagram. */
static void test_both_protocols(void **state)
{
	(void)state;
	expect(FEED "    protocol: [tcp, udp]\n"
		    "    tests:\n"
		    "      - {payload: {length: 580, at: {20: \"600\"}}, expect: 5001}\n",
	       1,
	       "a/rules.yaml:10:9: test failed by udp: expected port 5001, got refuse (reason: "
	       "length)\n"
	       "a/rules.yaml: 1 of 1 tests failed\n");
	expect(FEED "    protocol: [tcp, udp]\n"
		    "    tests:\n"
		    "      - {payload: {length: 289, at: {20: \"600\"}}, expect: refuse}\n",
	       0, "a/rules.yaml: 1 test passed\n");
}

static void test_otherwise(void **state)
{
	(void)state;
	expect(FEED "    protocol: [tcp, udp]\n"
		    "    otherwise: pass\n"
		    "    tests:\n"
		    "      - {payload: {length: 290, at: {20: \"999\"}}, expect: pass}\n"
		    "      - {payload: {length: 290, at: {20: \"600\"}}, expect: pass}\n",
	       1,
	       "a/rules.yaml:12:9: test failed by tcp: expected pass, got port 5001 (tag 600)\n"
	       "a/rules.yaml:12:9: test failed by udp: expected pass, got port 5001 (tag 600)\n"
	       "a/rules.yaml: 1 of 2 tests failed\n");
	expect(FEED "    protocol: udp\n"
		    "    otherwise: 5009\n"
		    "    tests:\n"
		    "      - {payload: {length: 290, at: {20: \"999\"}}, expect: 5009}\n",
	       0, "a/rules.yaml: 1 test passed\n");
}

/* What every message has is there by itself, and what a test says comes after it. */
static void test_requires(void **state)
{
	(void)state;
	expect(FEED
	       "    protocol: [tcp, udp]\n"
	       "    require:\n"
	       "      - {offset: 0, bytes: cafe}\n"
	       "      - {offset: 288, bytes: f0, mask: f0}\n"
	       "    tests:\n"
	       "      - {payload: {length: 292, at: {20: \"601\"}}, expect: 5002}\n"
	       "      - {payload: {length: 292, at: {1: \"x\", 20: \"601\"}}, expect: refuse}\n"
	       "      - {payload: {length: 1, at: {}}, expect: refuse}\n",
	       0, "a/rules.yaml: 3 tests passed\n");
}

static void test_addresses(void **state)
{
	(void)state;
	expect(FEED "    protocol: [tcp, udp]\n"
		    "    addresses: [2001:db8::/32]\n"
		    "    tests:\n"
		    "      - {payload: {length: 292, at: {20: \"601\"}}, expect: 5002}\n"
		    "  other:\n"
		    "    protocol: [tcp, udp]\n"
		    "    port: 5000\n"
		    "    addresses: [192.0.2.0/24]\n"
		    "    length: 1\n"
		    "    tag: {offset: 0}\n"
		    "    routes: {a: 7}\n"
		    "    tests:\n"
		    "      - {payload: {length: 1, at: {0: \"a\"}}, expect: 7}\n",
	       0, "a/rules.yaml: 2 tests passed\n");
}

/* The largest datagram is more than a segment over IPv4 can hold. */
static void test_largest(void **state)
{
	(void)state;
	expect("version: 1\n"
	       "listeners:\n"
	       "  feed:\n"
	       "    protocol: [tcp, udp]\n"
	       "    port: 5000\n"
	       "    length: 100..65507\n"
	       "    tag: {offset: 20}\n"
	       "    routes: {\"600\": 5001}\n"
	       "    tests:\n"
	       "      - {payload: {length: 65507, at: {20: \"600\"}}, expect: 5001}\n"
	       "      - {payload: {length: 0, at: {}}, expect: refuse}\n",
	       0, "a/rules.yaml: 2 tests passed\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passing),	  cmocka_unit_test(test_failing),
		cmocka_unit_test(test_no_tests),  cmocka_unit_test(test_both_protocols),
		cmocka_unit_test(test_otherwise), cmocka_unit_test(test_requires),
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_largest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
