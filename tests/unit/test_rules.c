/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rules: what right rule files become, number by number, and what stands beside what. The messages
 * about wrong ones are compared whole in tests/cli.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "../../compiler/diagnostic.h"
#include "../../compiler/rules.h"
#include "../../compiler/source.h"

/* A rule file on its way through rules_read. */
struct reading {
	struct source source;
	struct diagnostics diagnostics;
	struct rules rules;
	int err;
};

static struct reading read_text(const char *text)
{
	struct reading reading = {0};

	assert_int_equal(
		source_from_bytes("folder/x y*\"aZ09.yaml", text, strlen(text), &reading.source),
		0);
	reading.err = rules_read(&reading.source, &reading.diagnostics, &reading.rules);
	return reading;
}

static void done(struct reading *reading)
{
	rules_free(&reading->rules);
	rules_free(&reading->rules);
	diagnostics_free(&reading->diagnostics);
	source_free(&reading->source);
}

static struct reading read_good(const char *text)
{
	struct reading reading = read_text(text);

	if (reading.err || reading.diagnostics.error_count)
		fail_msg("refused: %s\n%s", reading.diagnostics.items[0].message, text);
	return reading;
}

/* One listener of which some keys are given; `rest` goes into its mapping. */
static char *listener_text(const char *protocol, const char *rest)
{
	char *text;

	assert_true(asprintf(&text,
			     "version: 1\nlisteners:\n  feed:\n    protocol: %s\n    port: 5000\n"
			     "%s\n",
			     protocol, rest) > 0);
	return text;
}

static struct reading read_listener(const char *protocol, const char *rest)
{
	char *text = listener_text(protocol, rest);
	struct reading reading = read_good(text);

	free(text);
	return reading;
}

#define FEED \
	"    length: 290..294\n    tag: {offset: 20}\n    routes: {\"601\": 5002, \"600\": 5001}\n"

static void test_defaults(void **state)
{
	struct reading reading = read_listener("tcp", FEED);
	const struct rules *rules = &reading.rules;
	const struct listener *feed = &rules->listeners[0];

	(void)state;
	assert_string_equal(rules->file, "x_y__aZ09.yaml");
	assert_memory_equal(rules->sha256, reading.source.sha256, 32);
	assert_int_equal(rules->listener_count, 1);
	assert_string_equal(feed->name, "feed");
	assert_int_equal(feed->place.length, 4);
	assert_int_equal(feed->protocols, PROTOCOL_TCP);
	assert_int_equal(feed->port, 5000);
	assert_int_equal(feed->length_min, 290);
	assert_int_equal(feed->length_max, 294);
	assert_int_equal(feed->tag.type, TAG_TEXT);
	assert_int_equal(feed->tag.offset, 20);
	assert_int_equal(feed->tag.length, 3);
	assert_int_equal(feed->otherwise.kind, ACTION_REFUSE);
	assert_true(feed->reset);
	assert_int_equal(feed->replies, REPLIES_TRACKED);
	assert_int_equal(feed->require_count, 0);
	assert_int_equal(feed->address_count, 0);
	assert_int_equal(feed->test_count, 0);
	/* sorted, not in the order of the file */
	assert_int_equal(feed->route_count, 2);
	assert_string_equal(feed->routes[0].text, "600");
	assert_memory_equal(feed->routes[0].pattern.value, "600", 3);
	assert_int_equal(feed->routes[0].port, 5001);
	assert_int_equal(feed->routes[1].port, 5002);
	done(&reading);

	reading = read_listener("udp", FEED);
	assert_int_equal(reading.rules.listeners[0].protocols, PROTOCOL_UDP);
	assert_false(reading.rules.listeners[0].reset);
	done(&reading);
	reading = read_listener("[udp, tcp]", FEED);
	assert_int_equal(reading.rules.listeners[0].protocols, PROTOCOL_TCP | PROTOCOL_UDP);
	assert_true(reading.rules.listeners[0].reset);
	done(&reading);
}

/* What is the default may be written, too. */
static void test_defaults_written_out(void **state)
{
	static const char *const types[][2] = {
		{"type: text, length: 3", "type: text"},
		{"type: hex, length: 2", "type: hex"},
		{"type: uint, length: 2, order: big", "type: uint, length: 2"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		struct reading readings[2];
		const struct listener *one, *two;

		for (int j = 0; j < 2; j++) {
			char rest[400];

			snprintf(rest, sizeof(rest),
				 "    length: 8\n    tag: {offset: 0, %s}\n    routes: {%s: 1}\n%s",
				 types[i][j], i ? "0016" : "016",
				 j ? ""
				   : "    otherwise: refuse\n    refuse: reset\n"
				     "    replies: tracked\n    require: []\n    tests: []\n");
			readings[j] = read_listener("[tcp, udp]", rest);
		}
		one = &readings[0].rules.listeners[0];
		two = &readings[1].rules.listeners[0];
		assert_memory_equal(&one->tag, &two->tag, sizeof(one->tag));
		assert_int_equal(one->route_count, 1);
		assert_int_equal(two->route_count, 1);
		assert_memory_equal(&one->routes->pattern, &two->routes->pattern,
				    sizeof(one->routes->pattern));
		assert_int_equal(one->otherwise.kind, two->otherwise.kind);
		assert_int_equal(one->reset, two->reset);
		assert_int_equal(one->replies, two->replies);
		done(&readings[0]);
		done(&readings[1]);
	}
}

static void test_every_key(void **state)
{
	struct reading reading = read_listener(
		"[tcp]",
		"    length: 013\n"
		"    tag: {offset: 2, type: uint, length: 4, order: little}\n"
		"    routes: {0x10: 6001, 017: 6002, 256..511: 6003}\n"
		"    otherwise: 6004\n"
		"    refuse: drop\n"
		"    require:\n"
		"      - {offset: 8, bytes: F0, mask: f0}\n"
		"      - {offset: 6, bytes: cafe}\n"
		"      - {offset: 6, bytes: ca}\n"
		"    addresses: [\"2001:db8::/32\", 192.0.2.1, 192.0.0.0/16, \"::1\", 0.0.0.0/0, 64.0.0.0]\n");
	const struct listener *feed = &reading.rules.listeners[0];

	(void)state;
	assert_int_equal(feed->length_min, 13);
	assert_int_equal(feed->length_max, 13);
	assert_int_equal(feed->tag.type, TAG_UINT);
	assert_int_equal(feed->tag.order, ORDER_LITTLE);
	assert_int_equal(feed->tag.length, 4);
	assert_int_equal(feed->route_count, 3);
	assert_string_equal(feed->routes[0].text, "256..511");
	assert_int_equal(feed->routes[0].pattern.kind, PATTERN_RANGE);
	assert_memory_equal(feed->routes[1].pattern.value, "\x10\0\0\0", 4);
	assert_memory_equal(feed->routes[2].pattern.value, "\x11\0\0\0", 4);
	assert_int_equal(feed->otherwise.kind, ACTION_ROUTE);
	assert_int_equal(feed->otherwise.port, 6004);
	assert_false(feed->reset);

	assert_int_equal(feed->require_count, 3);
	assert_int_equal(feed->requires[0].offset, 6);
	assert_int_equal(feed->requires[0].length, 1);
	assert_int_equal(feed->requires[1].offset, 6);
	assert_int_equal(feed->requires[1].length, 2);
	assert_memory_equal(feed->requires[1].bytes, "\xca\xfe\0", 3);
	assert_memory_equal(feed->requires[1].mask, "\xff\xff\0", 3);
	assert_int_equal(feed->requires[2].offset, 8);
	assert_int_equal(feed->requires[2].bytes[0], 0xf0);
	assert_int_equal(feed->requires[2].mask[0], 0xf0);

	assert_int_equal(feed->address_count, 6);
	assert_int_equal(feed->addresses[0].family, 4);
	assert_int_equal(feed->addresses[0].prefix, 0);
	assert_int_equal(feed->addresses[1].prefix, 32);
	assert_memory_equal(feed->addresses[1].bytes, "\x40\0\0\0", 4);
	assert_int_equal(feed->addresses[2].prefix, 16);
	assert_memory_equal(feed->addresses[2].bytes, "\xc0\0\0\0", 4);
	assert_int_equal(feed->addresses[3].prefix, 32);
	assert_memory_equal(feed->addresses[3].bytes, "\xc0\0\2\1", 4);
	assert_int_equal(feed->addresses[4].family, 6);
	assert_int_equal(feed->addresses[4].prefix, 128);
	assert_int_equal(feed->addresses[5].prefix, 32);
	assert_memory_equal(feed->addresses[5].bytes, "\x20\x01\x0d\xb8\0", 5);
	done(&reading);
}

static void test_udp_keys(void **state)
{
	struct reading reading = read_listener("udp", FEED "    replies: stateless\n"
							   "    refuse: drop\n"
							   "    otherwise: pass\n");

	(void)state;
	assert_int_equal(reading.rules.listeners[0].replies, REPLIES_STATELESS);
	assert_int_equal(reading.rules.listeners[0].otherwise.kind, ACTION_PASS);
	assert_int_equal(reading.rules.listeners[0].otherwise.port, 0);
	done(&reading);
	reading = read_listener("udp", FEED "    replies: none\n");
	assert_int_equal(reading.rules.listeners[0].replies, REPLIES_NONE);
	done(&reading);
}

static void test_rule_tests(void **state)
{
	struct reading reading = read_listener(
		"udp",
		"    length: 8..64\n"
		"    tag: {offset: 0, type: uint, length: 2}\n"
		"    routes: {1: 6001}\n"
		"    tests:\n"
		"      - {payload: {length: 10, at: {4: {hex: CAFE}, 0: 1, 6: {text: \"6?..\"}}},"
		" expect: 6001}\n"
		"      - {payload: {length: 0}, expect: refuse}\n"
		"\n"
		"      - payload: {length: 65507}\n"
		"        expect: pass\n");
	const struct listener *feed = &reading.rules.listeners[0];
	const struct test *test = feed->tests;

	(void)state;
	assert_int_equal(feed->test_count, 3);
	assert_int_equal(test->line, 10);
	assert_int_equal(test->length, 10);
	assert_int_equal(test->at_count, 3);
	assert_int_equal(test->at[0].offset, 0);
	assert_int_equal(test->at[0].length, 2);
	assert_memory_equal(test->at[0].bytes, "\0\1", 2);
	assert_int_equal(test->at[1].offset, 4);
	assert_memory_equal(test->at[1].bytes, "\xca\xfe", 2);
	assert_int_equal(test->at[2].offset, 6);
	assert_int_equal(test->at[2].length, 4);
	assert_memory_equal(test->at[2].bytes, "6?..", 4);
	assert_int_equal(test->expect.kind, ACTION_ROUTE);
	assert_int_equal(test->expect.port, 6001);
	assert_int_equal(test[1].line, 11);
	assert_int_equal(test[1].length, 0);
	assert_int_equal(test[1].expect.kind, ACTION_REFUSE);
	assert_int_equal(test[2].line, 13);
	assert_int_equal(test[2].length, 65507);
	assert_int_equal(test[2].expect.kind, ACTION_PASS);
	done(&reading);

	/* bytes are written like the tags: hex in a listener of hex tags */
	reading = read_listener("udp", "    length: 8\n"
				       "    tag: {offset: 0, type: hex}\n"
				       "    routes: {\"0102\": 6001}\n"
				       "    tests: [{payload: {length: 8, at: {0: \"010203\"}},"
				       " expect: refuse}]\n");
	test = reading.rules.listeners[0].tests;
	assert_int_equal(test->at[0].length, 3);
	assert_memory_equal(test->at[0].bytes, "\1\2\3", 3);
	done(&reading);
}

/* Tags that YAML 1.1 would have changed are the characters that stand there. */
static void test_tags_are_text(void **state)
{
	static const char *const tags[] = {"013", "1e3", "off", "yes", "~~~", "0x1", "1:3",
					   "1_0", "+12", "NaN", ".5.", "=  ", "010", "6?!"};

	(void)state;
	for (size_t i = 0; i < sizeof(tags) / sizeof(*tags); i++) {
		for (int quoted = 0; quoted < 2; quoted++) {
			struct reading reading;
			char rest[200];

			/* a plain scalar ends before its last space */
			if (!quoted && strchr(tags[i], ' '))
				continue;
			snprintf(rest, sizeof(rest),
				 "    length: 8\n    tag: {offset: 0}\n    routes:\n"
				 "      %s%s%s: 6001\n",
				 quoted ? "\"" : "", tags[i], quoted ? "\"" : "");
			reading = read_listener("udp", rest);
			assert_string_equal(reading.rules.listeners[0].routes[0].text, tags[i]);
			assert_int_equal(reading.rules.listeners[0].tag.length, 3);
			if (!strchr(tags[i], '?'))
				assert_memory_equal(
					reading.rules.listeners[0].routes[0].pattern.value, tags[i],
					3);
			done(&reading);
		}
	}
}

static void test_listeners_are_sorted(void **state)
{
	struct reading reading = read_good(
		"version: 1\nlisteners:\n"
		"  zulu: {protocol: udp, port: 1, length: 4, tag: {offset: 0}, routes: {a: 9}}\n"
		"  alpha_2: {protocol: udp, port: 2, length: 4, tag: {offset: 0}, routes: {a: 9}}\n"
		"  alpha: {protocol: tcp, port: 1, length: 4, tag: {offset: 0}, routes: {a: 9}}\n");

	(void)state;
	assert_int_equal(reading.rules.listener_count, 3);
	assert_string_equal(reading.rules.listeners[0].name, "alpha");
	assert_string_equal(reading.rules.listeners[1].name, "alpha_2");
	assert_string_equal(reading.rules.listeners[2].name, "zulu");
	done(&reading);
}

/* The order of the file and its layout change nothing but the places. */
static void test_order_never_matters(void **state)
{
	struct reading one = read_listener("udp", "    length: 8\n    tag: {offset: 0}\n"
						  "    routes: {600: 1, 6??: 2, 650..660: 3}\n");
	struct reading two = read_good(
		"listeners:\n  feed:\n    routes:\n      \"650..660\": 3\n      '6?\?': 2\n"
		"      600: 1\n    tag: {offset: 0}\n    length: 8\n    port: 5000\n"
		"    protocol: [udp]\nversion: 1\n");

	(void)state;
	assert_int_equal(one.rules.listeners[0].route_count, 3);
	for (size_t i = 0; i < 3; i++) {
		const struct route *a = &one.rules.listeners[0].routes[i];
		const struct route *b = &two.rules.listeners[0].routes[i];

		assert_memory_equal(&a->pattern, &b->pattern, sizeof(a->pattern));
		assert_int_equal(a->port, b->port);
		assert_string_equal(a->text, b->text);
	}
	done(&one);
	done(&two);
}

/* Each text completes a listener on udp port 5000 of 8..64 bytes with its tag at 0. */
static void test_patterns_together(void **state)
{
	static const struct {
		const char *routes;
		unsigned errors;
	} cases[] = {
		{"{600: 1, 6??: 2}", 0},		  /* a tag in a pattern */
		{"{6??: 1, 60?: 2}", 0},		  /* inside */
		{"{60?: 1, 6??: 2, \"?\?\?\": 3}", 0},	  /* inside, and inside */
		{"{600..699: 1, 650..660: 2}", 0},	  /* inside */
		{"{600..699: 1, 600..650: 2}", 0},	  /* inside, sharing an end */
		{"{600..699: 1, 6??: 2}", 0},		  /* a text range is digits only: inside */
		{"{600..699: 1, 700..799: 2}", 0},	  /* side by side */
		{"{60?: 1, \"?99\": 2}", 0},		  /* apart */
		{"{6??: 1, \"?00\": 1}", 0},		  /* overlapping, one port */
		{"{600..650: 1, 650..699: 1}", 0},	  /* overlapping, one port */
		{"{6??: 1, \"?00\": 2}", 1},		  /* 600 */
		{"{600..650: 1, 650..699: 2}", 1},	  /* 650 */
		{"{600..650: 1, 6?0: 2}", 1},		  /* 600 610 ... but not 660 */
		{"{6??: 1, \"?00\": 2, 600: 3}", 1},	  /* even where a third one settles it */
		{"{6??: 1, \"?0?\": 2, \"?\?0\": 3}", 3}, /* each pair */
		{"{600..600: 1, 600: 1}", 1},		  /* the same tag twice */
		{"{000..999: 1, 6??: 2}", 1},		  /* 600 is in both, 6aa and 700 in one */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct reading reading;
		char rest[200], *text;

		snprintf(rest, sizeof(rest),
			 "    length: 8..64\n    tag: {offset: 0}\n    routes: %s\n",
			 cases[i].routes);
		text = listener_text("udp", rest);
		reading = read_text(text);
		if (reading.diagnostics.error_count != cases[i].errors)
			fail_msg("%s: %zu errors", cases[i].routes,
				 reading.diagnostics.error_count);
		free(text);
		done(&reading);
	}
}

/* Two listeners; what may stand side by side and what may not. */
static void test_listeners_together(void **state)
{
#define A(keys) "  a: {length: 8, tag: {offset: 0}, " keys "}\n"
#define B(keys) "  b: {length: 8, tag: {offset: 0}, " keys "}\n"
	static const struct {
		const char *listeners;
		unsigned errors, warnings;
	} cases[] = {
		/* one packet, two listeners */
		{A("protocol: udp, port: 1, routes: {x: 9}")
			 B("protocol: udp, port: 1, routes: {x: 8}"),
		 1, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}")
			 B("protocol: tcp, port: 1, routes: {x: 8}"),
		 0, 0},
		{A("protocol: [tcp, udp], port: 1, routes: {x: 9}")
			 B("protocol: tcp, port: 1, routes: {x: 8}"),
		 1, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, addresses: [192.0.2.1]")
			 B("protocol: udp, port: 1, routes: {x: 8}, addresses: [192.0.2.2]"),
		 0, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, addresses: [192.0.2.0/25]")
			 B("protocol: udp, port: 1, routes: {x: 8}, addresses: [192.0.2.128/25]"),
		 0, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, addresses: [192.0.2.0/24]")
			 B("protocol: udp, port: 1, routes: {x: 8}, addresses: [192.0.2.128/25]"),
		 1, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, addresses: [192.0.2.0/23]")
			 B("protocol: udp, port: 1, routes: {x: 8}, addresses: [192.0.3.7]"),
		 1, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, addresses: [192.0.2.1]")
			 B("protocol: udp, port: 1, routes: {x: 8}, addresses: [\"c000:201::\"]"),
		 0, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, addresses: [\"::/0\"]")
			 B("protocol: udp, port: 1, routes: {x: 8}, addresses: [\"2001:db8::1\"]"),
		 1, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, addresses: [192.0.2.1]")
			 B("protocol: udp, port: 1, routes: {x: 8}"),
		 1, 0},
		/* one server, two listeners */
		{A("protocol: udp, port: 1, routes: {x: 9}")
			 B("protocol: udp, port: 2, routes: {x: 9}"),
		 0, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, replies: stateless")
			 B("protocol: udp, port: 2, routes: {x: 9}"),
		 1, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}")
			 B("protocol: udp, port: 2, routes: {x: 9}, replies: stateless"),
		 1, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, replies: none")
			 B("protocol: udp, port: 2, routes: {x: 9}, replies: stateless"),
		 1, 0},
		{A("protocol: udp, port: 1, routes: {x: 8}, otherwise: 9")
			 B("protocol: udp, port: 2, routes: {x: 9}, replies: stateless"),
		 1, 0},
		{A("protocol: tcp, port: 1, routes: {x: 9}")
			 B("protocol: udp, port: 2, routes: {x: 9}, replies: stateless"),
		 0, 0},
		{A("protocol: udp, port: 1, routes: {x: 9}, replies: stateless, "
		   "addresses: [192.0.2.1]")
			 B("protocol: udp, port: 1, routes: {x: 9}, replies: stateless, "
			   "addresses: [192.0.2.2]"),
		 0, 0},
		/* a server on another listener's port */
		{A("protocol: udp, port: 1, routes: {x: 2}")
			 B("protocol: udp, port: 2, routes: {x: 9}"),
		 0, 1},
		{A("protocol: tcp, port: 1, routes: {x: 9}, otherwise: 2")
			 B("protocol: tcp, port: 2, routes: {x: 9}"),
		 0, 1},
		{A("protocol: tcp, port: 1, routes: {x: 2}")
			 B("protocol: udp, port: 2, routes: {x: 9}"),
		 0, 0},
		{A("protocol: udp, port: 1, routes: {x: 2}, replies: stateless")
			 B("protocol: udp, port: 2, routes: {x: 9}, otherwise: pass"),
		 1, 0},
		{A("protocol: udp, port: 1, routes: {x: 2}, replies: stateless")
			 B("protocol: udp, port: 2, routes: {x: 9, y: 2}"),
		 2, 0},
		{A("protocol: udp, port: 1, routes: {x: 2}, replies: stateless")
			 B("protocol: udp, port: 2, routes: {x: 9}"),
		 0, 1},
		/* a route to the listen port itself is what pass does */
		{A("protocol: [tcp, udp], port: 1, routes: {x: 1}"), 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct reading reading;
		char *text;

		assert_true(asprintf(&text, "version: 1\nlisteners:\n%s", cases[i].listeners) > 0);
		reading = read_text(text);
		if (reading.diagnostics.error_count != cases[i].errors ||
		    reading.diagnostics.warning_count != cases[i].warnings)
			fail_msg("%zu errors, %zu warnings: %s\n%s",
				 reading.diagnostics.error_count, reading.diagnostics.warning_count,
				 reading.diagnostics.count ? reading.diagnostics.items[0].message
							   : "",
				 text);
		free(text);
		done(&reading);
	}
}

/* Where a tag or a require must end over tcp. */
static void test_first_segment(void **state)
{
	static const struct {
		const char *protocol;
		unsigned end, errors, warnings;
	} cases[] = {
		{"tcp", 496, 0, 0},  {"tcp", 497, 0, 1},  {"tcp", 1428, 0, 1},
		{"tcp", 1429, 1, 0}, {"udp", 1429, 0, 0}, {"[udp, tcp]", 1429, 1, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		for (int require = 0; require < 2; require++) {
			struct reading reading;
			char rest[300], *text;

			snprintf(rest, sizeof(rest),
				 "    length: 2000..3000\n    tag: {offset: %u}\n"
				 "    routes: {\"600\": 1}\n"
				 "    require: [{offset: %u, bytes: cafe}]\n",
				 require ? 0 : cases[i].end - 3, require ? cases[i].end - 2 : 100);
			text = listener_text(cases[i].protocol, rest);
			reading = read_text(text);
			if (reading.diagnostics.error_count != cases[i].errors ||
			    reading.diagnostics.warning_count != cases[i].warnings)
				fail_msg("%s, %u: %zu errors, %zu warnings", cases[i].protocol,
					 cases[i].end, reading.diagnostics.error_count,
					 reading.diagnostics.warning_count);
			free(text);
			done(&reading);
		}
	}
}

static void test_failure_leaves_rules_alone(void **state)
{
	struct source source = {0};
	struct diagnostics diagnostics = {0};
	struct rules rules = {.listener_count = 77};

	(void)state;
	assert_int_equal(source_from_bytes("x", "version: 2", 10, &source), 0);
	assert_int_equal(rules_read(&source, &diagnostics, &rules), -EINVAL);
	assert_int_equal(rules.listener_count, 77);
	assert_null(rules.arena);
	diagnostics_free(&diagnostics);
	source_free(&source);
}

static void test_warnings_do_not_fail(void **state)
{
	static const char text[] = "version: 1\nlisteners:\n"
				   "  a: {protocol: tcp, port: 1, length: 900, tag: {offset: 600},"
				   " routes: {x: 9}}\n";
	struct reading reading = read_text(text);
	struct diagnostics strict = {.warnings_are_errors = true};
	struct rules rules = {0};

	(void)state;
	assert_int_equal(reading.err, 0);
	assert_int_equal(reading.diagnostics.warning_count, 1);
	assert_int_equal(rules_read(&reading.source, &strict, &rules), -EINVAL);
	diagnostics_free(&strict);
	done(&reading);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_defaults_written_out),
		cmocka_unit_test(test_every_key),
		cmocka_unit_test(test_udp_keys),
		cmocka_unit_test(test_rule_tests),
		cmocka_unit_test(test_tags_are_text),
		cmocka_unit_test(test_listeners_are_sorted),
		cmocka_unit_test(test_order_never_matters),
		cmocka_unit_test(test_patterns_together),
		cmocka_unit_test(test_listeners_together),
		cmocka_unit_test(test_first_segment),
		cmocka_unit_test(test_failure_leaves_rules_alone),
		cmocka_unit_test(test_warnings_do_not_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
