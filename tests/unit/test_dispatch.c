/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The emitted lookup against what the patterns mean.
 *
 * Route sets of every type and length are drawn at random, with patterns inside each other, and
 * emitted in each form. The C is compiled twice: for this machine, and called as it is; and for
 * BPF, loaded and run by the kernel (as root). Tags are looked up that lie in the patterns, beside
 * them, and anywhere. What is right is asked of pattern.c, which knows nothing of emission: a route
 * whose pattern has the tag and has no pattern inside that has it, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cmocka.h>

#include "../../compiler/dispatch.h"
#include "../../compiler/parts.h"
#include "../../compiler/pattern.h"

enum {
	SETS = 90,	      /* route sets in one file of C */
	FORMS = 4,	      /* of each: one for each enum dispatch_choice, and */
	FORM_BRANCH_FREE = 3, /* hashed without a branch, where that can be */
	ROUTES_MAX = 48,
	TAGS = 600, /* looked up in each set */
	PROGRAM_INSNS_MAX = 200,
	PROGRAM_BYTES_MAX = 2048,
	SEARCH_MORE = 32, /* instructions of a search in two rows, beyond a probe's */
};

static uint64_t random_state = 1;

static uint32_t draw(uint32_t below)
{
	random_state = random_state * 6364136223846793005 + 1442695040888963407;
	return (random_state >> 32) * below >> 32;
}

/* ---- route sets --------------------------------------------------------------------------------
 */

/* A listener with room for routes and their texts; 0 routes at first. */
static struct listener *make_listener(const char *name, enum tag_type type, enum tag_order order,
				      uint32_t length, size_t routes_max)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	assert_non_null(listener);
	listener->name = strdup(name);
	listener->tag.type = type;
	listener->tag.order = order;
	listener->tag.length = length;
	listener->routes = calloc(routes_max, sizeof(*listener->routes));
	assert_non_null(listener->routes);
	return listener;
}

static void free_listener(struct listener *listener)
{
	for (size_t i = 0; i < listener->route_count; i++)
		free((char *)listener->routes[i].text);
	free(listener->routes);
	free((char *)listener->name);
	free(listener);
}

static void add_route(struct listener *listener, const char *text, uint16_t port)
{
	struct route *route = &listener->routes[listener->route_count];
	char problem[PROBLEM_MAX];

	assert_int_equal(pattern_read(listener, text, strlen(text), &route->pattern, problem), 0);
	route->text = strdup(text);
	route->port = port;
	listener->route_count++;
}

/* Adds a route unless it would contradict another one. */
static void try_route(struct listener *listener, const char *text, uint16_t port)
{
	struct route *route = &listener->routes[listener->route_count];
	char problem[PROBLEM_MAX];

	if (pattern_read(listener, text, strlen(text), &route->pattern, problem))
		return;
	for (size_t i = 0; i < listener->route_count; i++) {
		enum relation relation =
			pattern_relation(listener, &route->pattern, &listener->routes[i].pattern);

		if (relation == RELATION_EQUAL)
			return;
		if (relation == RELATION_OVERLAP)
			port = listener->routes[i].port;
	}
	for (size_t i = 0; i < listener->route_count; i++)
		if (listener->routes[i].port != port &&
		    pattern_relation(listener, &route->pattern, &listener->routes[i].pattern) ==
			    RELATION_OVERLAP)
			return;
	add_route(listener, text, port);
}

static int compare_routes(const void *left, const void *right)
{
	const struct route *a = left, *b = right;

	return memcmp(&a->pattern.value, &b->pattern.value, 3 * TAG_MAX);
}

/*
 * A tag as text, of few different characters, so that patterns meet: "wild" puts '?' in some
 * places, "digits" draws digits only.
 */
static void draw_text(const struct listener *listener, bool wild, bool digits, char *text)
{
	uint32_t symbols = listener->tag.length;
	uint32_t start = draw(3) ? listener->tag.length - 1 : draw(symbols);
	uint32_t wild_share = draw(4);

	if (listener->tag.type == TAG_UINT) {
		uint64_t max = UINT64_MAX >> (64 - 8 * listener->tag.length);
		uint64_t number = draw(2) ? draw(12) : max - draw(3);

		number = draw(3) ? number
				 : ((uint64_t)draw(UINT32_MAX) << 32 | draw(UINT32_MAX)) & max;
		sprintf(text, "%llu", (unsigned long long)number);
		return;
	}
	if (listener->tag.type == TAG_HEX) {
		symbols *= 2;
		start = 2 * start;
	}
	for (uint32_t i = 0; i < symbols; i++) {
		if (listener->tag.type == TAG_HEX)
			text[i] = "0f37"[i < start && draw(8) ? 0 : draw(4)];
		else if (digits)
			text[i] = "059"[i < start && draw(8) ? 0 : draw(3)];
		else
			text[i] = "0a5*/"[i < start && draw(8) ? 0 : draw(5)];
		if (wild && draw(4) < wild_share)
			text[i] = '?';
	}
	text[symbols] = '\0';
}

static struct listener *draw_listener(const char *name)
{
	enum tag_type type = draw(3);
	uint32_t length = draw(3) ? 1 + draw(8) : 1 + draw(type == TAG_UINT ? 8 : 32);
	struct listener *listener = make_listener(name, type, draw(2), length, ROUTES_MAX);
	uint32_t tries = 1 + draw(draw(3) ? ROUTES_MAX - 1 : 6);
	bool wild = draw(2), ranges = draw(2);

	for (uint32_t i = 0; i < tries || !listener->route_count; i++) {
		char text[4 * TAG_MAX + 8], end[2 * TAG_MAX + 1];

		if (ranges && draw(2)) {
			draw_text(listener, false, true, text);
			draw_text(listener, false, true, end);
			strcat(strcat(text, ".."), end);
		} else {
			draw_text(listener, wild && type != TAG_UINT, draw(2), text);
		}
		try_route(listener, text, 1000 + draw(50));
	}
	qsort(listener->routes, listener->route_count, sizeof(*listener->routes), compare_routes);
	return listener;
}

/* ---- what is right -----------------------------------------------------------------------------
 */

/* What the emitted function said; port 0: no route. */
struct answer {
	uint16_t port;
	uint32_t route; /* or NOT_COUNTED */
};

static const uint32_t NOT_COUNTED = UINT32_MAX;

/* Whether a route has the tag, and no pattern inside its own has it, too. */
static bool is_innermost(const struct listener *listener, uint32_t route, const uint8_t *tag)
{
	const struct pattern *pattern = &listener->routes[route].pattern;

	if (!pattern_matches(listener, pattern, tag))
		return false;
	for (size_t i = 0; i < listener->route_count; i++)
		if (pattern_matches(listener, &listener->routes[i].pattern, tag) &&
		    pattern_relation(listener, &listener->routes[i].pattern, pattern) ==
			    RELATION_INSIDE)
			return false;
	return true;
}

static void check_answer(const struct listener *listener, const uint8_t *tag,
			 const struct answer *answer)
{
	uint32_t route = 0;

	while (route < listener->route_count &&
	       !(is_innermost(listener, route, tag) &&
		 (answer->route == route || answer->route == NOT_COUNTED)))
		route++;
	if (route < listener->route_count) {
		assert_int_equal(answer->port, listener->routes[route].port);
		return;
	}
	assert_int_equal(answer->port, 0);
	for (route = 0; route < listener->route_count; route++)
		assert_false(pattern_matches(listener, &listener->routes[route].pattern, tag));
}

/* A number of 32 bits in the last bytes, or in the first ones where the order is little. */
static void put_number(const struct listener *listener, uint32_t number, uint8_t *tag)
{
	bool little = listener->tag.type == TAG_UINT && listener->tag.order == ORDER_LITTLE;

	memset(tag, 0, TAG_MAX);
	for (uint32_t i = 0; i < listener->tag.length && number; i++, number >>= 8)
		tag[little ? i : listener->tag.length - 1 - i] = (uint8_t)number;
}

/* A tag in a pattern, next to it, or anywhere, or a small number. */
static void draw_tag(const struct listener *listener, uint8_t *tag)
{
	const struct route *route = &listener->routes[draw(listener->route_count)];
	uint8_t low[TAG_MAX], high[TAG_MAX];
	char text[2 * TAG_MAX + 1], problem[PROBLEM_MAX];
	struct pattern pattern;
	uint32_t length = listener->tag.length;
	bool little = listener->tag.type == TAG_UINT && listener->tag.order == ORDER_LITTLE;
	int step = draw(3) - 1;

	switch (draw(6)) {
	case 0: /* an end of the pattern, or one before or behind it */
		pattern_span(listener, &route->pattern, low, high);
		for (uint32_t i = 0; i < length; i++)
			tag[little ? length - 1 - i : i] = draw(2) ? low[i] : high[i];
		for (uint32_t i = 0; i < length && step; i++) {
			uint8_t *byte = &tag[little ? i : length - 1 - i];

			*byte += step;
			if (*byte != (step > 0 ? 0 : 0xff))
				break;
		}
		break;
	case 1: /* in the pattern, but perhaps for one bit */
		for (uint32_t i = 0; i < length; i++)
			tag[i] = route->pattern.value[i] |
				 (draw(256) & (uint8_t)~route->pattern.mask[i]);
		if (draw(2))
			tag[draw(length)] ^= 1 << draw(8);
		break;
	case 2: /* like those that patterns are made of */
	case 3:
		draw_text(listener, false, draw(2), text);
		assert_int_equal(pattern_read(listener, text, strlen(text), &pattern, problem), 0);
		memcpy(tag, pattern.value, length);
		break;
	case 4:
		put_number(listener, draw(256), tag);
		break;
	default:
		for (uint32_t i = 0; i < length; i++)
			tag[i] = draw(256);
		break;
	}
}

/* ---- compiling ---------------------------------------------------------------------------------
 */

static char folder[] = "/tmp/mplex-dispatch-XXXXXX";

static void path_of(const char *file, char path[128])
{
	snprintf(path, 128, "%s/%s", folder, file);
}

static FILE *create(const char *file)
{
	char path[128];
	FILE *out;

	path_of(file, path);
	out = fopen(path, "w");
	assert_non_null(out);
	return out;
}

static void run(const char *format, const char *file, const char *output)
{
	char command[1024], path[128], output_path[128];

	path_of(file, path);
	path_of(output, output_path);
	snprintf(command, sizeof(command), format, path, output_path);
	assert_int_equal(system(command), 0);
}

static const char types[] = "typedef unsigned char __u8;\n"
			    "typedef unsigned short __u16, __be16;\n"
			    "typedef unsigned int __u32, __be32, __wsum;\n"
			    "typedef unsigned long long __u64, __be64;\n"
			    "typedef signed short __s16;\n"
			    "typedef signed int __s32;\n"
			    "typedef signed long long __s64;\n";

/* What the emitted functions take from the program that they become part of. */
static const char surroundings[] =
	"struct verdict {\n\t__u32 reason;\n\t__u32 counter;\n\t__u16 port;\n};\n"
	"static __always_inline __u64 load_u8(const __u8 *at) { return *at; }\n"
	"static __always_inline __u64 load_u16(const __u8 *at)\n"
	"{ return __builtin_bswap16(*(const __u16 *)at); }\n"
	"static __always_inline __u64 load_u32(const __u8 *at)\n"
	"{ return __builtin_bswap32(*(const __u32 *)at); }\n"
	"static __always_inline __u64 load_u64(const __u8 *at)\n"
	"{ return __builtin_bswap64(*(const __u64 *)at); }\n\n";

static const char on_this_machine[] =
	"#include <stdbool.h>\n"
	"#define __always_inline inline __attribute__((always_inline, unused))\n"
	"#define SEC(name)\n"
	"#define barrier_var(var) asm volatile(\"\" : \"+r\"(var))\n";

static const char in_bpf[] =
	"#include <stdbool.h>\n#include <bpf/bpf_helpers.h>\n"
	"#undef __always_inline\n"
	"#define __always_inline inline __attribute__((always_inline, unused))\n"
	"struct xdp_md {\n\t__u32 data;\n\t__u32 data_end;\n};\n"
	"char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";\n";

static void write_surroundings(const char *place, FILE *out)
{
	fprintf(out, "%s%s%s%s\n", types, place, surroundings, parts[PART_choose].text);
}

static void capitals(const char *name, char *out)
{
	for (; *name; name++)
		*out++ = *name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name;
	*out = '\0';
}

/* Where route counters begin: it must come out again. */
enum {
	ROUTES_BASE = 7,
};

static void emit_form(struct listener *listener, unsigned form, bool count_routes, FILE *out)
{
	enum dispatch_choice choice = form == FORM_BRANCH_FREE ? DISPATCH_HASH : form;
	struct dispatch *dispatch = NULL;
	char upper[64];

	capitals(listener->name, upper);
	assert_int_equal(dispatch_make(listener, choice, &dispatch), 0);
	fprintf(out, "enum { %s_ROUTES = %d };\n\n", upper, ROUTES_BASE);
	dispatch_emit(dispatch, count_routes,
		      form == FORM_BRANCH_FREE && dispatch_can_be_branch_free(dispatch), out);
	fputc('\n', out);
	dispatch_free(dispatch);
}

/* A function for the outside that calls route_NAME. */
static void write_call(const char *name, FILE *out)
{
	fprintf(out,
		"bool call_%s(const __u8 *tag, struct verdict *verdict);\n"
		"bool call_%s(const __u8 *tag, struct verdict *verdict)\n"
		"{\n\treturn route_%s(tag, verdict);\n}\n\n",
		name, name, name);
}

/* ---- on this machine ----------------------------------------------------------------------------
 */

struct verdict {
	uint32_t reason;
	uint32_t counter;
	uint16_t port;
};

typedef bool route_function(const uint8_t *tag, struct verdict *verdict);

static struct answer call(route_function *function, const uint8_t *tag)
{
	const uint32_t counter = 0xfeed5678;
	struct verdict verdict = {.reason = 1234, .counter = counter, .port = 9};
	struct answer answer = {.route = NOT_COUNTED};

	if (function(tag, &verdict)) {
		answer.port = verdict.port;
		if (verdict.counter != counter)
			answer.route = verdict.counter - ROUTES_BASE;
	} else {
		assert_int_equal(verdict.counter, counter);
		assert_int_equal(verdict.port, 9);
	}
	assert_int_equal(verdict.reason, 1234);
	return answer;
}

/* Compiles what was emitted without any warning, as gcc and as clang see it. */
static void *compile_here(const char *source, const char *library)
{
	char path[128];
	void *handle;

	run("${CLANG:-clang} -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror -fsyntax-only %s",
	    source, library);
	run("cc -std=gnu11 -O1 -Wall -Wextra -Wno-unused-parameter -Werror -shared -fPIC %s -o %s",
	    source, library);
	path_of(library, path);
	handle = dlopen(path, RTLD_NOW);
	assert_non_null(handle);
	return handle;
}

/* What write_call wrote for that name. */
static route_function *find_call(void *handle, const char *name)
{
	route_function *function;
	char call_name[64];

	snprintf(call_name, sizeof(call_name), "call_%s", name);
	function = dlsym(handle, call_name);
	assert_non_null(function);
	return function;
}

/* Which of a set's forms count their routes. */
static bool is_counted(int set, int form)
{
	return (set + form) % 2;
}

static void test_random_sets(void **state)
{
	struct listener *sets[SETS];
	FILE *out = create("sets.c");
	char name[32];
	void *handle;

	(void)state;
	write_surroundings(on_this_machine, out);
	for (int i = 0; i < SETS; i++) {
		sets[i] = draw_listener("set");
		for (int form = 0; form < FORMS; form++) {
			char *plain_name = (char *)sets[i]->name;

			snprintf(name, sizeof(name), "set%d_%d", i, form);
			sets[i]->name = name;
			emit_form(sets[i], form, is_counted(i, form), out);
			sets[i]->name = plain_name;
			write_call(name, out);
		}
	}
	assert_int_equal(fclose(out), 0);
	handle = compile_here("sets.c", "sets.so");
	for (int i = 0; i < SETS; i++) {
		for (int form = 0; form < FORMS; form++) {
			route_function *function;

			snprintf(name, sizeof(name), "set%d_%d", i, form);
			function = find_call(handle, name);
			for (int t = 0; t < TAGS; t++) {
				uint8_t tag[TAG_MAX] = {0};
				struct answer answer;

				draw_tag(sets[i], tag);
				answer = call(function, tag);
				assert_int_equal(answer.route != NOT_COUNTED,
						 is_counted(i, form) && answer.port);
				check_answer(sets[i], tag, &answer);
			}
		}
		free_listener(sets[i]);
	}
	dlclose(handle);
}

/* What the innermost pattern is, said by hand. */
static void test_innermost(void **state)
{
	static const struct {
		enum tag_type type;
		uint32_t length;
		struct {
			const char *text;
			uint16_t port;
		} routes[6], tags[8];
	} sets[] = {
		/* One range belongs before the masks, the other behind them. */
		{TAG_HEX,
		 2,
		 {{"12??", 1}, {"1210..1220", 2}, {"34??", 3}, {"3000..35ff", 4}},
		 {{"120f", 1},
		  {"1210", 2},
		  {"1220", 2},
		  {"1221", 1},
		  {"33ff", 4},
		  {"3400", 3},
		  {"3600", 0}}},
		/* An exact tag in a range in a mask in a range. */
		{TAG_HEX,
		 2,
		 {{"1000..2fff", 1}, {"11??", 2}, {"1120..1130", 3}, {"1125", 4}, {"2???", 1}},
		 {{"0fff", 0},
		  {"1000", 1},
		  {"1100", 2},
		  {"1120", 3},
		  {"1125", 4},
		  {"1131", 2},
		  {"2fff", 1},
		  {"3000", 0}}},
		/* Digits decide between a range and what is round it. */
		{TAG_TEXT,
		 3,
		 {{"6??", 1}, {"600..699", 2}, {"65?", 3}, {"650", 4}, {"600..610", 5}, {"???", 6}},
		 {{"6a0", 1},
		  {"600", 5},
		  {"611", 2},
		  {"65x", 3},
		  {"659", 3},
		  {"650", 4},
		  {"6:0", 1},
		  {"700", 6}}},
		/* Ranges round ranges with the same beginning or end. */
		{TAG_UINT,
		 1,
		 {{"0..255", 1}, {"0..10", 2}, {"0..5", 3}, {"250..255", 4}, {"255", 5}},
		 {{"0", 3},
		  {"5", 3},
		  {"6", 2},
		  {"10", 2},
		  {"11", 1},
		  {"249", 1},
		  {"250", 4},
		  {"255", 5}}},
	};
	FILE *out = create("innermost.c");
	char name[32];
	void *handle;

	(void)state;
	write_surroundings(on_this_machine, out);
	for (int i = 0; i < (int)(sizeof(sets) / sizeof(*sets)) * FORMS; i++) {
		struct listener *set;

		snprintf(name, sizeof(name), "set%d", i);
		set = make_listener(name, sets[i / FORMS].type, ORDER_BIG, sets[i / FORMS].length,
				    6);
		for (int r = 0; r < 6 && sets[i / FORMS].routes[r].text; r++)
			add_route(set, sets[i / FORMS].routes[r].text,
				  sets[i / FORMS].routes[r].port);
		emit_form(set, i % FORMS, true, out);
		write_call(name, out);
		free_listener(set);
	}
	assert_int_equal(fclose(out), 0);
	handle = compile_here("innermost.c", "innermost.so");
	for (int i = 0; i < (int)(sizeof(sets) / sizeof(*sets)) * FORMS; i++) {
		struct listener *set = make_listener("tags", sets[i / FORMS].type, ORDER_BIG,
						     sets[i / FORMS].length, 8);
		route_function *function;

		snprintf(name, sizeof(name), "set%d", i);
		function = find_call(handle, name);
		for (int t = 0; t < 8 && sets[i / FORMS].tags[t].text; t++) {
			add_route(set, sets[i / FORMS].tags[t].text, 1);
			assert_int_equal(call(function, set->routes[t].pattern.value).port,
					 sets[i / FORMS].tags[t].port);
		}
		free_listener(set);
	}
	dlclose(handle);
}

/*
 * A tag whose words are the lowest or the highest that there are, or one step away: 0 and all ones
 * in hex, "00000000" and "99999999" in text.
 */
static void draw_extremes(const struct listener *listener, uint8_t *tag)
{
	uint8_t low = listener->tag.type == TAG_TEXT ? '0' : 0;
	uint8_t high = listener->tag.type == TAG_TEXT ? '9' : 0xff;

	for (uint32_t at = 0; at < listener->tag.length; at += 8) {
		uint32_t end = at + 8 < listener->tag.length ? at + 8 : listener->tag.length;
		bool highest = draw(2);

		memset(tag + at, highest ? high : low, end - at);
		if (!draw(3))
			tag[end - 1] += highest ? -1 : 1;
	}
}

static void write_tag_text(const struct listener *listener, const uint8_t *tag, char *text)
{
	for (uint32_t at = 0; at < listener->tag.length; at++)
		text += sprintf(text, listener->tag.type == TAG_TEXT ? "%c" : "%02x", tag[at]);
}

/* One range between such tags, or a single tag where both are the same. */
static struct listener *draw_extreme_range(const char *name)
{
	static const uint32_t lengths[] = {8, 9, 16, 17, 24, 32};
	struct listener *listener =
		make_listener(name, draw(2) ? TAG_TEXT : TAG_HEX, ORDER_BIG, lengths[draw(6)], 1);
	uint8_t first[TAG_MAX], last[TAG_MAX];
	char text[4 * TAG_MAX + 8];

	draw_extremes(listener, first);
	draw_extremes(listener, last);
	if (draw(2)) /* the first words are the same */
		memcpy(last, first, 8 * draw((listener->tag.length + 7) / 8));
	bool turned = memcmp(first, last, listener->tag.length) > 0;

	write_tag_text(listener, turned ? last : first, text);
	strcat(text, "..");
	write_tag_text(listener, turned ? first : last, text + strlen(text));
	add_route(listener, text, 1);
	return listener;
}

/* Where a bound is left out, because nothing is beyond it, and where it must not be. */
static void test_extreme_ranges(void **state)
{
	enum {
		RANGES = 300,
	};
	struct listener *sets[RANGES];
	FILE *out = create("extremes.c");
	char name[32];
	void *handle;

	(void)state;
	write_surroundings(on_this_machine, out);
	for (int i = 0; i < RANGES; i++) {
		snprintf(name, sizeof(name), "set%d", i);
		sets[i] = draw_extreme_range(name);
		emit_form(sets[i], i % 2 ? DISPATCH_HASH : DISPATCH_CHAIN, true, out);
		write_call(name, out);
	}
	assert_int_equal(fclose(out), 0);
	handle = compile_here("extremes.c", "extremes.so");
	for (int i = 0; i < RANGES; i++) {
		route_function *function;

		snprintf(name, sizeof(name), "set%d", i);
		function = find_call(handle, name);
		for (int t = 0; t < TAGS; t++) {
			uint8_t tag[TAG_MAX] = {0};
			struct answer answer;

			if (draw(2))
				draw_extremes(sets[i], tag);
			else
				draw_tag(sets[i], tag);
			answer = call(function, tag);
			assert_int_equal(answer.route != NOT_COUNTED, answer.port != 0);
			check_answer(sets[i], tag, &answer);
		}
		free_listener(sets[i]);
	}
	dlclose(handle);
}

/*
 * Every number of ranges, the last one up to the highest tag or not, so that a table has its last
 * rows full or filled up: for one word and for two.
 */
static void test_searches(void **state)
{
	enum {
		RANGES = 25, /* of ten numbers of a byte, up to 249 */
		SEARCHES = 4 * RANGES,
	};
	static const char *const formats[] = {"%1$02x..%2$02x",
					      "%1$02x0000000000000000..%2$02xffffffffffffffff"};
	FILE *out = create("searches.c");
	char name[32], text[64];
	void *handle;

	(void)state;
	write_surroundings(on_this_machine, out);
	for (unsigned i = 0; i < SEARCHES; i++) {
		unsigned last = i / 4, highest = i / 2 % 2 ? 255 : 10 * last + 9;
		struct listener *set;

		snprintf(name, sizeof(name), "set%u", i);
		set = make_listener(name, TAG_HEX, ORDER_BIG, i % 2 ? 9 : 1, RANGES);
		for (unsigned range = 0; range <= last; range++) {
			snprintf(text, sizeof(text), formats[i % 2], 10 * range,
				 range < last ? 10 * range + 9 : highest);
			add_route(set, text, 1 + range);
		}
		emit_form(set, DISPATCH_HASH, true, out);
		write_call(name, out);
		free_listener(set);
	}
	assert_int_equal(fclose(out), 0);
	handle = compile_here("searches.c", "searches.so");
	for (unsigned i = 0; i < SEARCHES; i++) {
		unsigned last = i / 4, highest = i / 2 % 2 ? 255 : 10 * last + 9;
		route_function *function;

		snprintf(name, sizeof(name), "set%u", i);
		function = find_call(handle, name);
		for (unsigned first = 0; first < 256; first++) {
			unsigned range = first / 10 < last ? first / 10 : last;
			uint8_t tag[TAG_MAX];
			struct answer answer;

			memset(tag, 0xff, sizeof(tag));
			tag[0] = first;
			answer = call(function, tag);
			assert_int_equal(answer.port, first <= highest ? 1 + range : 0);
			assert_int_equal(answer.route, first <= highest ? range : NOT_COUNTED);
		}
	}
	dlclose(handle);
}

/*
 * Every key of large tables is found, each at its route; others are not: none of the numbers below
 * the first either, of which one stands in the row of the tag that is all zeros.
 */
static void test_large_tables(void **state)
{
	static const struct {
		enum tag_type type;
		uint32_t length;
		size_t count, first;
		unsigned shift; /* of the number: where low bits are all 0, keys are folded */
	} tables[] = {
		{TAG_HEX, 2, 65536, 0, 0},     {TAG_HEX, 3, 65535, 0, 0},
		{TAG_TEXT, 8, 65535, 0, 0},    {TAG_TEXT, 16, 65535, 0, 0},
		{TAG_UINT, 4, 5000, 0, 0},     {TAG_TEXT, 32, 3000, 0, 0},
		{TAG_HEX, 8, 5000, 60000, 0},  {TAG_HEX, 16, 2500, 60000, 0},
		{TAG_HEX, 32, 1700, 60000, 0}, {TAG_UINT, 6, 6000, 60000, 0},
		{TAG_HEX, 4, 70000, 0, 0},     {TAG_HEX, 32, 1944, 0, 52},
		{TAG_UINT, 8, 52488, 0, 44},
	};

	(void)state;
	for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++) {
		struct listener *listener = make_listener("large", tables[t].type, ORDER_LITTLE,
							  tables[t].length, tables[t].count);
		FILE *out = create("large.c");
		route_function *function;
		char text[128];
		void *handle;

		for (size_t i = 0; i < tables[t].count; i++) {
			sprintf(text, tables[t].type == TAG_UINT ? "%1$zu" : "%1$0*2$zx",
				(tables[t].first + i) << tables[t].shift,
				(int)(tables[t].type == TAG_HEX ? 2 : 1) * (int)tables[t].length);
			add_route(listener, text, 1 + i % 65535);
		}
		write_surroundings(on_this_machine, out);
		emit_form(listener, DISPATCH_AUTO, true, out);
		write_call("large", out);
		assert_int_equal(fclose(out), 0);
		handle = compile_here("large.c", "large.so");
		function = find_call(handle, "large");
		for (size_t i = 0; i < tables[t].count; i++) {
			struct answer answer = call(function, listener->routes[i].pattern.value);

			assert_int_equal(answer.route, i);
			assert_int_equal(answer.port, listener->routes[i].port);
		}
		for (uint32_t i = 0; i < tables[t].first; i++) {
			uint8_t tag[TAG_MAX];

			put_number(listener, i, tag);
			assert_int_equal(call(function, tag).port, 0);
		}
		for (int i = 0; i < 200 && tables[t].count < 65536; i++) {
			uint8_t tag[TAG_MAX];

			for (size_t at = 0; at < sizeof(tag); at++)
				tag[at] = 0x80 | draw(256);
			assert_int_equal(call(function, tag).port, 0);
		}
		dlclose(handle);
		free_listener(listener);
	}
}

/* ---- in the kernel -----------------------------------------------------------------------------
 */

/*
 * An XDP program whose packet is the tag in its first 32 bytes, and the answer in the next eight:
 * the port and the counter, or zeros.
 */
static void write_program(struct listener *listener, unsigned form, FILE *out)
{
	write_surroundings(in_bpf, out);
	emit_form(listener, form, true, out);
	fprintf(out,
		"SEC(\"xdp\")\nint look_up(struct xdp_md *ctx)\n{\n"
		"\t__u8 *data = (__u8 *)(long)ctx->data;\n"
		"\tstruct verdict verdict = {};\n\n"
		"\tif (data + 40 > (__u8 *)(long)ctx->data_end)\n\t\treturn 0;\n"
		"\tif (!route_%s(data, &verdict))\n\t\treturn 1;\n"
		"\t*(__u32 *)(data + 32) = verdict.port;\n"
		"\t*(__u32 *)(data + 36) = verdict.counter;\n\treturn 2;\n}\n",
		listener->name);
}

static struct bpf_object *load_program(struct listener *listener, unsigned form)
{
	FILE *out = create("program.bpf.c");
	struct bpf_object *object;
	char path[128];

	write_program(listener, form, out);
	assert_int_equal(fclose(out), 0);
	run("${CLANG:-clang} -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -target bpf -c %s -o %s",
	    "program.bpf.c", "program.bpf.o");
	path_of("program.bpf.o", path);
	object = bpf_object__open_file(path, NULL);
	assert_non_null(object);
	assert_int_equal(bpf_object__load(object), 0);
	return object;
}

static int program_fd(const struct bpf_object *object)
{
	return bpf_program__fd(bpf_object__find_program_by_name(object, "look_up"));
}

static struct answer run_program(const struct bpf_object *object, const uint8_t *tag)
{
	uint8_t packet[64] = {0}, out[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet),
		    .data_out = out, .data_size_out = sizeof(out));
	struct answer answer = {0};
	uint32_t words[2];

	memcpy(packet, tag, TAG_MAX);
	assert_int_equal(bpf_prog_test_run_opts(program_fd(object), &options), 0);
	assert_true(options.retval == 1 || options.retval == 2);
	memcpy(words, out + 32, sizeof(words));
	if (options.retval == 2) {
		answer.port = words[0];
		answer.route = words[1] - ROUTES_BASE;
	}
	return answer;
}

static void skip_unless_root(void)
{
	if (geteuid()) {
		print_message("needs root\n");
		skip();
	}
}

static void test_random_sets_in_kernel(void **state)
{
	(void)state;
	skip_unless_root();
	for (int i = 0; i < 30; i++) {
		struct listener *listener = draw_listener("set");
		struct bpf_object *object = load_program(listener, i % FORMS);

		for (int t = 0; t < TAGS; t++) {
			uint8_t tag[TAG_MAX] = {0};
			struct answer answer;

			draw_tag(listener, tag);
			answer = run_program(object, tag);
			check_answer(listener, tag, &answer);
		}
		bpf_object__close(object);
		free_listener(listener);
	}
}

/* The largest tables cost the verifier and the cache for code as little as the smallest. */
static void test_program_size(void **state)
{
	static const uint32_t lengths[] = {3, 8, 16, 32};

	(void)state;
	skip_unless_root();
	for (size_t l = 0; l < sizeof(lengths) / sizeof(*lengths); l++) {
		struct listener *listener =
			make_listener("large", TAG_HEX, ORDER_BIG, lengths[l], 65535);
		struct bpf_prog_info info = {0};
		uint32_t info_length = sizeof(info);
		struct bpf_object *object;
		char text[2 * TAG_MAX + 1];

		for (size_t i = 0; i < 65535; i++) {
			sprintf(text, "%0*zx", 2 * (int)lengths[l], i);
			add_route(listener, text, 1 + i);
		}
		object = load_program(listener, DISPATCH_AUTO);
		assert_int_equal(bpf_obj_get_info_by_fd(program_fd(object), &info, &info_length),
				 0);
		assert_in_range(info.verified_insns, 1, PROGRAM_INSNS_MAX);
		assert_in_range(info.jited_prog_len, 1, PROGRAM_BYTES_MAX);
		for (int i = 0; i < 1000; i++) {
			uint32_t route = draw(65535);
			struct answer answer =
				run_program(object, listener->routes[route].pattern.value);

			assert_int_equal(answer.port, listener->routes[route].port);
			assert_int_equal(answer.route, route);
		}
		bpf_object__close(object);
		free_listener(listener);
	}
}

/* What looking up the tags of one route takes. */
struct size {
	uint32_t instructions, table_bytes;
};

static struct size size_of_route(enum tag_type type, uint32_t length, const char *text,
				 enum dispatch_choice choice)
{
	struct listener *listener = make_listener("one", type, ORDER_BIG, length, 1);
	struct bpf_prog_info info = {0};
	uint32_t info_length = sizeof(info);
	struct size size = {0};
	struct bpf_object *object;
	struct bpf_map *map;

	add_route(listener, text, 1);
	object = load_program(listener, choice);
	assert_int_equal(bpf_obj_get_info_by_fd(program_fd(object), &info, &info_length), 0);
	size.instructions = info.xlated_prog_len / 8;
	bpf_object__for_each_map(map, object) size.table_bytes += bpf_map__value_size(map);
	bpf_object__close(object);
	free_listener(listener);
	return size;
}

/*
 * Patterns are compiled, not enumerated: a range of a million tags costs a few instructions more
 * than one tag, for its other end and, in text, to know digits; and no table, or one of two rows
 * where a table is asked for.
 */
static void test_million_tags(void **state)
{
	static const struct {
		enum tag_type type;
		uint32_t length;
		const char *tag, *range;
		uint32_t more;
	} sets[] = {
		{TAG_UINT, 4, "1234567", "1000000..1999999", 8},
		{TAG_UINT, 8, "1234567", "1000000..1999999", 8},
		{TAG_HEX, 4, "00123456", "00100000..001fffff", 8},
		{TAG_TEXT, 7, "1234567", "1000000..1999999", 32},
	};

	(void)state;
	skip_unless_root();
	for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++) {
		enum tag_type type = sets[i].type;
		uint32_t length = sets[i].length;
		struct size tag = size_of_route(type, length, sets[i].tag, DISPATCH_AUTO);
		struct size range = size_of_route(type, length, sets[i].range, DISPATCH_AUTO);

		assert_in_range(range.instructions, 1, tag.instructions + sets[i].more);
		assert_int_equal(range.table_bytes, 0);
		assert_int_equal(tag.table_bytes, 0);

		tag = size_of_route(type, length, sets[i].tag, DISPATCH_HASH);
		range = size_of_route(type, length, sets[i].range, DISPATCH_HASH);
		assert_in_range(range.instructions, 1, tag.instructions + SEARCH_MORE);
		assert_in_range(range.table_bytes, 1, tag.table_bytes + 16);
	}
}

/* Tags as long and as different as can be, CHAIN_MAX of them, and as many ranges. */
static void test_longest_chain(void **state)
{
	static const struct {
		enum tag_type type;
		uint32_t length;
		const char *format;
	} forms[] = {
		{TAG_HEX, 3, "%1$06x"},
		{TAG_HEX, 8, "%1$08x%1$08x"},
		{TAG_TEXT, 32, "%1$08x%1$08x%1$08x%1$08x"},
		{TAG_HEX, 32, "%1$016x%1$016x%1$016x%1$016x..%1$016x%1$016x%1$016x%2$016x"},
		{TAG_UINT, 8, "%1$u..%2$u"},
		{TAG_HEX, 4, "??%1$06x"},
	};

	(void)state;
	skip_unless_root();
	for (size_t f = 0; f < sizeof(forms) / sizeof(*forms); f++) {
		struct listener *listener = make_listener("chain", forms[f].type, ORDER_BIG,
							  forms[f].length, CHAIN_MAX + 1);
		struct dispatch *dispatch = NULL;
		struct bpf_object *object;
		char text[256];

		for (uint32_t i = 0; i < CHAIN_MAX; i++) {
			sprintf(text, forms[f].format, i * 259 * 7, i * 259 * 7 + 500);
			add_route(listener, text, 1 + i);
		}
		object = load_program(listener, DISPATCH_CHAIN);
		for (uint32_t i = 0; i < CHAIN_MAX; i++)
			assert_int_equal(
				run_program(object, listener->routes[i].pattern.value).port, 1 + i);
		bpf_object__close(object);

		sprintf(text, forms[f].format, CHAIN_MAX * 259 * 7, CHAIN_MAX * 259 * 7 + 500);
		add_route(listener, text, 1);
		assert_int_equal(dispatch_make(listener, DISPATCH_CHAIN, &dispatch), -E2BIG);
		assert_null(dispatch);
		free_listener(listener);
	}
}

/* ---- text --------------------------------------------------------------------------------------
 */

static char *emitted(struct listener *listener, unsigned form, bool count_routes)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	emit_form(listener, form, count_routes, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

/* The order of the routes in memory is all that may matter, and nothing else. */
static void test_same_text(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		struct listener *listener = draw_listener("set");
		char *first = emitted(listener, i % FORMS, i % 2);
		char *second = emitted(listener, i % FORMS, i % 2);

		assert_string_equal(first, second);
		if (i % 2 == 0)
			assert_null(strstr(first, "counter"));
		free(first);
		free(second);
		free_listener(listener);
	}
}

/* Tags that would end the comment they stand in, or change their look. */
static void test_comments(void **state)
{
	static const char *const tags[] = {"*/**/*", "/*/*/*", "a?\?/b*", "*/\\n//"};
	static const char trigraphs[] = "=/'()!<>-";
	struct listener *listener = make_listener("set", TAG_TEXT, ORDER_BIG, 6, 4 + 9);
	FILE *out = create("comments.c");
	char *text;

	(void)state;
	for (size_t i = 0; i < sizeof(tags) / sizeof(*tags); i++)
		add_route(listener, tags[i], 1 + i);
	for (const char *at = trigraphs; *at; at++)
		add_route(listener, (char[]){'c', '?', '?', *at, 'd', 'e', '\0'}, 9);
	text = emitted(listener, DISPATCH_CHAIN, true);
	for (const char *at = trigraphs; *at; at++)
		assert_null(strstr(text, (char[]){'?', '?', *at, '\0'}));
	write_surroundings(on_this_machine, out);
	fputs(text, out);
	write_call("set", out);
	assert_int_equal(fclose(out), 0);
	compile_here("comments.c", "comments.so");
	free(text);
	free_listener(listener);
}

static void test_too_many_masks(void **state)
{
	struct listener *listener = make_listener("set", TAG_HEX, ORDER_BIG, 4, MASKS_MAX + 1);
	struct dispatch *dispatch = NULL;

	(void)state;
	for (uint32_t i = 0; i < MASKS_MAX + 1; i++) {
		char text[] = "11111111";

		for (unsigned at = 0; at < 8; at++)
			if (i & 1 << at)
				text[at] = '?';
		add_route(listener, text, 1);
		assert_int_equal(dispatch_make(listener, DISPATCH_AUTO, &dispatch),
				 i < MASKS_MAX ? 0 : -ERANGE);
		dispatch_free(dispatch);
		dispatch = NULL;
	}
	free_listener(listener);
}

static int make_folder(void **state)
{
	(void)state;
	libbpf_set_print(NULL);
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_sets),  cmocka_unit_test(test_innermost),
		cmocka_unit_test(test_searches),     cmocka_unit_test(test_extreme_ranges),
		cmocka_unit_test(test_large_tables), cmocka_unit_test(test_random_sets_in_kernel),
		cmocka_unit_test(test_program_size), cmocka_unit_test(test_longest_chain),
		cmocka_unit_test(test_million_tags), cmocka_unit_test(test_same_text),
		cmocka_unit_test(test_comments),     cmocka_unit_test(test_too_many_masks),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
