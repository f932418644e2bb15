/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Patterns: how they are read, and how two of them lie to each other. The latter is compared with
 * what counting out every tag says, for all pairs of a few hundred patterns of each type.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "../../compiler/pattern.h"

static struct listener listener_of(enum tag_type type, uint32_t length, enum tag_order order)
{
	return (struct listener){.tag = {.type = type, .length = length, .order = order}};
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
		int decimal, number;
		uint64_t value;
	} cases[] = {
		{"0", 9, 0, 0, 0},
		{"65535", 65535, 0, 0, 65535},
		{"65536", 65535, -ERANGE, -ERANGE, 0},
		{"013", 99, 0, 0, 13}, /* never eleven */
		{"0000000000000000000000000000000000005", 9, 0, 0, 5},
		{"18446744073709551615", UINT64_MAX, 0, 0, UINT64_MAX},
		{"18446744073709551616", UINT64_MAX, -ERANGE, -ERANGE, 0},
		{"99999999999999999999999999999999999999", UINT64_MAX, -ERANGE, -ERANGE, 0},
		{"0x1f", 99, -EINVAL, 0, 31},
		{"0X1F", 99, -EINVAL, 0, 31},
		{"0xffffffffffffffff", UINT64_MAX, -EINVAL, 0, UINT64_MAX},
		{"0x10000000000000000", UINT64_MAX, -EINVAL, -ERANGE, 0},
		{"0x", 99, -EINVAL, -EINVAL, 0},
		{"", 99, -EINVAL, -EINVAL, 0},
		{"1f", 99, -EINVAL, -EINVAL, 0},
		{"+1", 99, -EINVAL, -EINVAL, 0},
		{"-1", 99, -EINVAL, -EINVAL, 0},
		{" 1", 99, -EINVAL, -EINVAL, 0},
		{"1 ", 99, -EINVAL, -EINVAL, 0},
		{"1_0", 99, -EINVAL, -EINVAL, 0},
		{"1e1", 99, -EINVAL, -EINVAL, 0},
		{"1.0", 99, -EINVAL, -EINVAL, 0},
		{"0o7", 99, -EINVAL, -EINVAL, 0},
		{"0b1", 99, -EINVAL, -EINVAL, 0},
		{"1:30", 99, -EINVAL, -EINVAL, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t decimal = 77, number = 77;
		size_t length = strlen(cases[i].text);

		if (decimal_read(cases[i].text, length, cases[i].max, &decimal) !=
			    cases[i].decimal ||
		    decimal != (cases[i].decimal ? 77 : cases[i].value) ||
		    number_read(cases[i].text, length, cases[i].max, &number) != cases[i].number ||
		    number != (cases[i].number ? 77 : cases[i].value))
			fail_msg("'%s'", cases[i].text);
	}
}

static void test_hex(void **state)
{
	uint8_t bytes[4] = {1, 2, 3, 4};

	(void)state;
	assert_int_equal(hex_read("cafeF01d", 8, bytes, 4), 4);
	assert_memory_equal(bytes, "\xca\xfe\xf0\x1d", 4);
	assert_int_equal(hex_read("cafef01d00", 10, bytes, 4), 0);
	assert_int_equal(hex_read("caf", 3, bytes, 4), 0);
	assert_int_equal(hex_read("cg", 2, bytes, 4), 0);
	assert_int_equal(hex_read("", 0, bytes, 4), 0);
	assert_memory_equal(bytes, "\xca\xfe\xf0\x1d", 4);
}

static void test_lengths(void **state)
{
	(void)state;
	assert_int_equal(pattern_length(TAG_TEXT, "600", 3), 3);
	assert_int_equal(pattern_length(TAG_TEXT, "600..6999", 9), 3);
	assert_int_equal(pattern_length(TAG_TEXT, "6??", 3), 3);
	assert_int_equal(pattern_length(TAG_TEXT, "", 0), 0);
	assert_int_equal(pattern_length(TAG_HEX, "cafe", 4), 2);
	assert_int_equal(pattern_length(TAG_HEX, "ca??..cafe", 10), 2);
	assert_int_equal(pattern_length(TAG_HEX, "caf", 3), 0);
	assert_int_equal(pattern_length(TAG_UINT, "600", 3), 0);
}

struct expected {
	enum pattern_kind kind;
	const char *value, *mask, *last;
};

static void assert_read(const struct listener *listener, const char *text,
			const struct expected *expected)
{
	struct pattern pattern = {0}, wanted = {.kind = expected->kind};
	char problem[PROBLEM_MAX];

	if (pattern_read(listener, text, strlen(text), &pattern, problem))
		fail_msg("'%s': %s", text, problem);
	memcpy(wanted.value, expected->value, listener->tag.length);
	memcpy(wanted.mask, expected->mask, listener->tag.length);
	if (expected->last)
		memcpy(wanted.last, expected->last, listener->tag.length);
	if (memcmp(&pattern, &wanted, sizeof(pattern)))
		fail_msg("'%s' is read wrong", text);
}

static void test_reading(void **state)
{
	struct listener text = listener_of(TAG_TEXT, 3, ORDER_BIG);
	struct listener hex = listener_of(TAG_HEX, 2, ORDER_BIG);
	struct listener big = listener_of(TAG_UINT, 3, ORDER_BIG);
	struct listener little = listener_of(TAG_UINT, 3, ORDER_LITTLE);
	struct listener largest = listener_of(TAG_UINT, 8, ORDER_BIG);

	(void)state;
	assert_read(&text, "600", &(struct expected){PATTERN_EXACT, "600", "\xff\xff\xff", NULL});
	assert_read(&text, "0x1", &(struct expected){PATTERN_EXACT, "0x1", "\xff\xff\xff", NULL});
	assert_read(&text, "a b", &(struct expected){PATTERN_EXACT, "a b", "\xff\xff\xff", NULL});
	assert_read(&text, "6?0", &(struct expected){PATTERN_MASK, "6\0000", "\xff\0\xff", NULL});
	assert_read(&text, "???", &(struct expected){PATTERN_MASK, "\0\0\0", "\0\0\0", NULL});
	assert_read(&text, "600..699",
		    &(struct expected){PATTERN_RANGE, "600", "\xff\xff\xff", "699"});
	assert_read(&text, "600..600",
		    &(struct expected){PATTERN_EXACT, "600", "\xff\xff\xff", NULL});
	assert_read(&hex, "caFE", &(struct expected){PATTERN_EXACT, "\xca\xfe", "\xff\xff", NULL});
	assert_read(&hex, "c?f?", &(struct expected){PATTERN_MASK, "\xc0\xf0", "\xf0\xf0", NULL});
	assert_read(&hex, "?a?e", &(struct expected){PATTERN_MASK, "\x0a\x0e", "\x0f\x0f", NULL});
	assert_read(&hex, "ca00..cafe",
		    &(struct expected){PATTERN_RANGE, "\xca\0", "\xff\xff", "\xca\xfe"});
	assert_read(&big, "66051",
		    &(struct expected){PATTERN_EXACT, "\1\2\3", "\xff\xff\xff", NULL});
	assert_read(&big, "0x010203",
		    &(struct expected){PATTERN_EXACT, "\1\2\3", "\xff\xff\xff", NULL});
	assert_read(&little, "66051",
		    &(struct expected){PATTERN_EXACT, "\3\2\1", "\xff\xff\xff", NULL});
	/* a little-endian range is empty or not by its numbers, not by its bytes */
	assert_read(&little, "255..256",
		    &(struct expected){PATTERN_RANGE, "\xff\0\0", "\xff\xff\xff", "\0\1\0"});
	assert_read(&big, "16777215",
		    &(struct expected){PATTERN_EXACT, "\xff\xff\xff", "\xff\xff\xff", NULL});
	assert_read(&largest, "18446744073709551615",
		    &(struct expected){PATTERN_EXACT, "\xff\xff\xff\xff\xff\xff\xff\xff",
				       "\xff\xff\xff\xff\xff\xff\xff\xff", NULL});
}

static void test_refusals(void **state)
{
	static const struct {
		enum tag_type type;
		const char *text, *problem; /* a part of it */
	} cases[] = {
		{TAG_TEXT, "", "at least one byte"},
		{TAG_TEXT, "60", "has 2 bytes"},
		{TAG_TEXT, "6", "has 1 byte,"},
		{TAG_TEXT, "6000", "the tags of this listener have 3"},
		{TAG_TEXT, "6\t0", "printable ASCII"},
		{TAG_TEXT,
		 "\xc3\xa9"
		 "1",
		 "printable ASCII"},
		{TAG_TEXT, "..", "at least one byte"},
		{TAG_TEXT, "600..", "at least one byte"},
		{TAG_TEXT, "600..69", "has 2 bytes"},
		{TAG_TEXT, "a..b", "digits only"},
		{TAG_TEXT, "60a..700", "digits only"},
		{TAG_TEXT, "6?0..699", "a range cannot hold '?'"},
		{TAG_TEXT, "699..600", "600..699"},
		{TAG_HEX, "cafg01", "'g' is not a hex digit"},
		{TAG_HEX, "0xcafe", "'x' is not a hex digit"},
		{TAG_HEX, "cafe0", "this has 5 digits"},
		{TAG_HEX, "cafe", "has 2 bytes"},
		{TAG_HEX,
		 "ca\xff"
		 "e01",
		 "'.' is not a hex digit"},
		{TAG_HEX, "cafe??..cafeff", "a range cannot hold '?'"},
		{TAG_UINT, "", "is not a uint tag"},
		{TAG_UINT, "600..", "is not a uint tag"},
		{TAG_UINT, "abc", "is not a uint tag"},
		{TAG_UINT, "-1", "is not a uint tag"},
		{TAG_UINT, "6?0", "cannot hold '?'"},
		{TAG_UINT, "16777216", "the largest is 16777215"},
		{TAG_UINT, "0..16777216", "the largest is 16777215"},
		{TAG_UINT, "2..1", "1..2"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct listener listener = listener_of(cases[i].type, 3, ORDER_BIG);
		struct pattern pattern = {.kind = PATTERN_MASK}, before = pattern;
		char problem[PROBLEM_MAX];

		if (!pattern_read(&listener, cases[i].text, strlen(cases[i].text), &pattern,
				  problem))
			fail_msg("'%s' is not refused", cases[i].text);
		if (!strstr(problem, cases[i].problem))
			fail_msg("'%s': %s", cases[i].text, problem);
		assert_memory_equal(&pattern, &before, sizeof(pattern));
	}
}

static void test_hostile_lengths(void **state)
{
	struct listener listener = listener_of(TAG_TEXT, 3, ORDER_BIG);
	char *text = malloc(1 << 20), problem[PROBLEM_MAX];

	(void)state;
	for (int type = TAG_TEXT; type <= TAG_UINT; type++) {
		struct pattern pattern;

		listener.tag.type = type;
		memset(text, '1', 1 << 20);
		assert_int_not_equal(pattern_read(&listener, text, 1 << 20, &pattern, problem), 0);
		memset(text, '?', 1 << 20);
		assert_int_not_equal(pattern_read(&listener, text, 1 << 20, &pattern, problem), 0);
		memset(text, '.', 1 << 20);
		assert_int_not_equal(pattern_read(&listener, text, 1 << 20, &pattern, problem), 0);
		memcpy(text, "111", 3);
		assert_int_not_equal(pattern_read(&listener, text, 1 << 20, &pattern, problem), 0);
	}
	free(text);
}

/*
 * All tags of two symbols, counted out. For text some letters stand for all bytes that are no
 * digits.
 */
enum {
	PATTERNS_MAX = 400
};

struct universe {
	struct listener listener;
	unsigned tags;
	uint8_t (*tag)[TAG_MAX];
	struct pattern patterns[PATTERNS_MAX];
	char texts[PATTERNS_MAX][16];
	size_t count;
};

static void add_pattern(struct universe *universe, const char *format, ...)
{
	char problem[PROBLEM_MAX];
	size_t i = universe->count++;
	va_list arguments;

	assert_true(i < PATTERNS_MAX);
	va_start(arguments, format);
	vsnprintf(universe->texts[i], sizeof(universe->texts[i]), format, arguments);
	va_end(arguments);
	if (pattern_read(&universe->listener, universe->texts[i], strlen(universe->texts[i]),
			 &universe->patterns[i], problem))
		fail_msg("'%s': %s", universe->texts[i], problem);
}

static enum relation count_out(const struct universe *universe, const struct pattern *a,
			       const struct pattern *b)
{
	bool inside = true, around = true, meet = false;

	for (unsigned i = 0; i < universe->tags; i++) {
		bool in_a = pattern_matches(&universe->listener, a, universe->tag[i]);
		bool in_b = pattern_matches(&universe->listener, b, universe->tag[i]);

		meet |= in_a && in_b;
		inside &= !in_a || in_b;
		around &= !in_b || in_a;
	}
	if (!meet)
		return RELATION_DISJOINT;
	if (inside)
		return around ? RELATION_EQUAL : RELATION_INSIDE;
	return around ? RELATION_AROUND : RELATION_OVERLAP;
}

static void check_universe(struct universe *universe)
{
	size_t seen[RELATION_OVERLAP + 1] = {0};
	uint32_t length = universe->listener.tag.length;

	for (size_t i = 0; i < universe->count; i++) {
		for (size_t j = 0; j < universe->count; j++) {
			const struct pattern *a = &universe->patterns[i];
			const struct pattern *b = &universe->patterns[j];
			uint8_t a_low[TAG_MAX], a_high[TAG_MAX], b_low[TAG_MAX], b_high[TAG_MAX];
			enum relation relation = pattern_relation(&universe->listener, a, b);
			enum relation counted = count_out(universe, a, b);

			if (relation != counted)
				fail_msg("'%s' to '%s': %d, counted out %d", universe->texts[i],
					 universe->texts[j], relation, counted);
			seen[relation]++;
			pattern_span(&universe->listener, a, a_low, a_high);
			pattern_span(&universe->listener, b, b_low, b_high);
			if (relation != RELATION_DISJOINT && (memcmp(a_high, b_low, length) < 0 ||
							      memcmp(b_high, a_low, length) < 0))
				fail_msg("the spans of '%s' and '%s' are apart", universe->texts[i],
					 universe->texts[j]);
		}
	}
	for (size_t i = 0; i <= RELATION_OVERLAP; i++)
		assert_true(seen[i] > 0);
	free(universe->tag);
}

static void test_relations_of_text(void **state)
{
	static const char *const masks[] = {"???", "??0", "?0?", "?19", "??9", "?a?", "a??", "19?",
					    "1??", "9??", "2?0", "?55", "123", "0a0", "1/0", "999"};
	static const char symbols[] = "0123456789a/:";
	size_t count = sizeof(symbols) - 1;
	struct universe universe = {.listener = listener_of(TAG_TEXT, 3, ORDER_BIG)};

	(void)state;
	universe.tag = calloc(count * count * count, TAG_MAX);
	for (size_t i = 0; i < count * count * count; i++, universe.tags++) {
		universe.tag[i][0] = symbols[i / count / count];
		universe.tag[i][1] = symbols[i / count % count];
		universe.tag[i][2] = symbols[i % count];
	}
	for (size_t i = 0; i < sizeof(masks) / sizeof(*masks); i++)
		add_pattern(&universe, "%s", masks[i]);
	for (int i = 0; i < 130; i++) {
		int first = rand() % 1000, last = first + rand() % (1000 - first);

		add_pattern(&universe, "%03d..%03d", first, last);
	}
	add_pattern(&universe, "000..999");
	add_pattern(&universe, "100..199");
	add_pattern(&universe, "190..199");
	check_universe(&universe);
}

static void test_relations_of_hex(void **state)
{
	struct universe universe = {.listener = listener_of(TAG_HEX, 1, ORDER_BIG)};

	(void)state;
	universe.tag = calloc(256, TAG_MAX);
	for (; universe.tags < 256; universe.tags++)
		universe.tag[universe.tags][0] = universe.tags;
	for (int i = 0; i < 16; i++) {
		add_pattern(&universe, "%x?", i);
		add_pattern(&universe, "?%x", i);
		add_pattern(&universe, "%x%x", i, 15 - i);
	}
	add_pattern(&universe, "??");
	add_pattern(&universe, "00..ff");
	add_pattern(&universe, "a0..af");
	for (int i = 0; i < 200; i++) {
		int first = rand() % 256, last = first + rand() % (256 - first);

		add_pattern(&universe, "%02x..%02x", first, last);
	}
	check_universe(&universe);
}

static void test_relations_of_uint(void **state)
{
	struct universe universe = {.listener = listener_of(TAG_UINT, 2, ORDER_LITTLE)};

	(void)state;
	universe.tag = calloc(1024, TAG_MAX);
	for (; universe.tags < 1024; universe.tags++)
		number_bytes(&universe.listener, universe.tags, universe.tag[universe.tags]);
	for (int i = 0; i < 120; i++) {
		int first = rand() % 1024, last = first + rand() % (1024 - first);

		add_pattern(&universe, "%d..%d", first, last);
		add_pattern(&universe, "%d", first);
	}
	check_universe(&universe);
}

static void test_matching(void **state)
{
	struct listener text = listener_of(TAG_TEXT, 3, ORDER_BIG);
	struct listener little = listener_of(TAG_UINT, 2, ORDER_LITTLE);
	struct pattern pattern;
	char problem[PROBLEM_MAX];

	(void)state;
	assert_int_equal(pattern_read(&text, "60", 2, &pattern, problem), -EMSGSIZE);
	assert_int_equal(pattern_read(&text, "6\t0", 3, &pattern, problem), -EINVAL);
	assert_int_equal(pattern_read(&text, "600..699", 8, &pattern, problem), 0);
	assert_true(pattern_matches(&text, &pattern, (const uint8_t *)"600"));
	assert_true(pattern_matches(&text, &pattern, (const uint8_t *)"699"));
	assert_false(pattern_matches(&text, &pattern, (const uint8_t *)"599"));
	assert_false(pattern_matches(&text, &pattern, (const uint8_t *)"700"));
	/* between the ends as bytes, but no digits */
	assert_false(pattern_matches(&text, &pattern, (const uint8_t *)"60:"));
	assert_false(pattern_matches(&text, &pattern, (const uint8_t *)"61/"));

	assert_int_equal(pattern_read(&text, "6?0", 3, &pattern, problem), 0);
	assert_true(pattern_matches(&text, &pattern,
				    (const uint8_t *)"6\xff"
						     "0"));
	assert_false(pattern_matches(&text, &pattern,
				     (const uint8_t *)"6\xff"
						      "1"));

	assert_int_equal(pattern_read(&little, "255..256", 8, &pattern, problem), 0);
	assert_true(pattern_matches(&little, &pattern, (const uint8_t *)"\xff\x00"));
	assert_true(pattern_matches(&little, &pattern, (const uint8_t *)"\x00\x01"));
	assert_false(pattern_matches(&little, &pattern, (const uint8_t *)"\x01\x01"));
	assert_false(pattern_matches(&little, &pattern, (const uint8_t *)"\xfe\x00"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),		 cmocka_unit_test(test_hex),
		cmocka_unit_test(test_lengths),		 cmocka_unit_test(test_reading),
		cmocka_unit_test(test_refusals),	 cmocka_unit_test(test_hostile_lengths),
		cmocka_unit_test(test_matching),	 cmocka_unit_test(test_relations_of_text),
		cmocka_unit_test(test_relations_of_hex), cmocka_unit_test(test_relations_of_uint),
	};

	srand(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
