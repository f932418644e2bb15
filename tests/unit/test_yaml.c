/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * YAML: what of it becomes a tree, with which places, and what is refused where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "../../compiler/arena.h"
#include "../../compiler/diagnostic.h"
#include "../../compiler/node.h"
#include "../../compiler/source.h"

/* One text on its way through yaml_read. */
struct reading {
	struct source source;
	struct diagnostics diagnostics;
	struct arena *arena;
	struct node *root;
	int err;
};

static struct reading read_bytes(const char *text, size_t size)
{
	struct reading reading = {.arena = arena_new()};

	assert_int_equal(source_from_bytes("x.yaml", text, size, &reading.source), 0);
	reading.err =
		yaml_read(&reading.source, &reading.diagnostics, reading.arena, &reading.root);
	return reading;
}

static struct reading read_text(const char *text)
{
	return read_bytes(text, strlen(text));
}

static void done(struct reading *reading)
{
	diagnostics_free(&reading->diagnostics);
	source_free(&reading->source);
	arena_free(reading->arena);
}

/* The tree in one line: {key: value} [item] plain 'quoted' !broken */
static void draw(const struct node *node, FILE *out)
{
	const char *between = "";

	switch (node->kind) {
	case NODE_BROKEN:
		fputs("!broken", out);
		return;
	case NODE_SCALAR:
		fprintf(out, node->quoted ? "'%.*s'" : "%.*s", (int)node->length, node->text);
		return;
	default:
		break;
	}
	fprintf(out, "%c%u:", node->kind == NODE_MAPPING ? '{' : '[', node->length);
	for (const struct node *item = node->first; item; item = item->next) {
		fputs(between, out);
		draw(item, out);
		if (node->kind == NODE_MAPPING) {
			fputs(": ", out);
			draw(item->value, out);
		}
		between = ", ";
	}
	fputc(node->kind == NODE_MAPPING ? '}' : ']', out);
}

static void assert_tree(const char *text, const char *expected)
{
	struct reading reading = read_text(text);
	char *drawn = NULL;
	size_t size;
	FILE *out = open_memstream(&drawn, &size);

	if (reading.err || reading.diagnostics.error_count)
		fail_msg("refused: %s\n%s", text, reading.diagnostics.items[0].message);
	draw(reading.root, out);
	fclose(out);
	assert_string_equal(drawn, expected);
	free(drawn);
	done(&reading);
}

static void test_trees(void **state)
{
	(void)state;
	assert_tree("a: b\n", "{1:a: b}");
	assert_tree("a:\n  b: c\n  d: [e, {f: g}, []]\nh: {}\n",
		    "{2:a: {2:b: c, d: [3:e, {1:f: g}, [0:]]}, h: {0:}}");
	assert_tree("- a\n- - b\n  - c\n", "[2:a, [2:b, c]]");
	assert_tree("--- \na: b # comment\n...\n", "{1:a: b}");
	assert_tree("a: 'it''s'\n\"b\\x41\": \"\"\n", "{2:a: 'it's', 'bA': ''}");
	assert_tree("\xef\xbb\xbf"
		    "a: b\r\nc:\r\n",
		    "{2:a: b, c: }");
	assert_tree("just a text", "just a text");
	/* what differs only in its quotes is one key, what differs in a space is not */
	assert_tree("{\"a\": 1, \"a \": 2, A: 3}", "{3:'a': 1, 'a ': 2, A: 3}");
}

/* Each of these is another value in YAML 1.1 or 1.2 than what stands there. */
static void test_scalars_are_what_they_look_like(void **state)
{
	static const char *const texts[] = {
		"013",	"0o13",	      "0x10",  "0b11",	  "1:30",	 "190:20:30",
		"1e3",	"1.5",	      "1_000", "+12",	  "-0",		 ".inf",
		".NaN", "no",	      "NO",    "off",	  "y",		 "n",
		"yes",	"on",	      "true",  "null",	  "Null",	 "~",
		"=",	"2001-12-14", "00",    "2122:22", "600..699",	 "6??",
		"?00",	"1.0",	      "0.1.2", "12e03",	  "2001:db8::1", "a#b",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		char yaml[100], expected[100];

		snprintf(yaml, sizeof(yaml), "%s: %s\n", texts[i], texts[i]);
		snprintf(expected, sizeof(expected), "{1:%s: %s}", texts[i], texts[i]);
		assert_tree(yaml, expected);
		snprintf(yaml, sizeof(yaml), "{\"%s\": '%s'}", texts[i], texts[i]);
		snprintf(expected, sizeof(expected), "{1:'%s': '%s'}", texts[i], texts[i]);
		assert_tree(yaml, expected);
	}
	/* a quoted << is a text like any other */
	assert_tree("\"<<\": 1", "{1:'<<': 1}");
}

static void test_places(void **state)
{
	static const char text[] = "\xef\xbb\xbf# \xe2\x82\xac\r\nk\xc3\xa9y: [a, \"b\\x41c\"]\n";
	struct reading reading = read_bytes(text, sizeof(text) - 1);
	struct node *key, *list, *item;

	(void)state;
	assert_int_equal(reading.err, 0);
	key = reading.root->first;
	assert_int_equal(key->place.offset, 10);
	assert_int_equal(key->place.length, 4);
	assert_int_equal(key->line, 2);
	list = key->value;
	assert_int_equal(list->place.offset, 16);
	item = list->first;
	assert_int_equal(item->place.offset, 17);
	assert_int_equal(item->place.length, 1);
	assert_false(item->quoted);
	item = item->next;
	assert_int_equal(item->place.offset, 20);
	assert_int_equal(item->place.length, 8);
	assert_true(item->quoted);
	assert_memory_equal(item->text, "bAc", 4);
	done(&reading);
}

static void test_nul_from_an_escape(void **state)
{
	struct reading reading = read_text("\"a\\0b\"");

	(void)state;
	assert_int_equal(reading.err, 0);
	assert_int_equal(reading.root->length, 3);
	assert_memory_equal(reading.root->text, "a\0b", 4);
	done(&reading);
}

/* What is refused, and where; a tree is there (then err is 0) where the rest can still be read. */
static void test_refusals(void **state)
{
	static const struct {
		const char *text;
		int err;
		unsigned line, column;
		const char *message; /* a part of it */
	} cases[] = {
		{"", -EINVAL, 1, 1, "is empty"},
		{"# nothing\n", -EINVAL, 1, 1, "is empty"},
		{"a: &x b\n", 0, 1, 4, "anchors ('&x')"},
		{"&x a: b\n", 0, 1, 1, "anchors"},
		{"a: &x {b: c}\n", 0, 1, 4, "anchors"},
		{"a: &x [b]\n", 0, 1, 4, "anchors"},
		{"a: *x\n", 0, 1, 4, "aliases"},
		{"*x : b\n", 0, 1, 1, "aliases"},
		{"a: !!int 5\n", 0, 1, 4, "YAML tags"},
		{"a: ! 5\n", 0, 1, 4, "YAML tags"},
		{"a: !x {b: c}\n", 0, 1, 4, "YAML tags"},
		{"a: !!seq [b]\n", 0, 1, 4, "YAML tags"},
		{"a: {<<: b}\n", 0, 1, 5, "merge keys"},
		{"a: b\n---\nc: d\n", -EINVAL, 2, 1, "second document"},
		{"{a: 1, ?00: 2}", 0, 1, 8, "starts with '?'"},
		{"? a\n: b\n", 0, 1, 1, "starts with '?'"},
		{"a: |\n  text\n", 0, 1, 4, "several lines"},
		{"a: >\n  text\n", 0, 1, 4, "several lines"},
		{"a: b\n  c\n", 0, 1, 4, "several lines"},
		{"a: \"b\n  c\"\n", 0, 1, 4, "several lines"},
		{"a: 1\nb: 2\na: 3\n", 0, 3, 1, "'a' is there twice"},
		{"a: 1\n\"a\": 3\n", 0, 2, 1, "'a' is there twice"},
		{"[x]: 1\n", -EINVAL, 1, 1, "cannot be a key"},
		{"? {a: b}\n: c\n", -EINVAL, 1, 3, "cannot be a key"},
		{"a: b\n c: d\n", -EINVAL, 2, 3, "check the indentation"},
		{"a:\n   b: c\n  d: e\n", -EINVAL, 3, 3, "line up"},
		{"a: 'b\n", -EINVAL, 1, 4, "never closed"},
		{"a: [b, c\n", -EINVAL, 2, 1, "']' is missing"},
		{"a: {b: c\n", -EINVAL, 2, 1, "'}' is missing"},
		{"a:\n\tb: c\n", -EINVAL, 2, 1, "not tabs"},
		{"a: @b\n", -EINVAL, 1, 4, "quotes"},
		{"a: [::1]\n", -EINVAL, 1, 5, "quotes"},
		{"a: b: c\n", -EINVAL, 1, 5, "'key: value' cannot stand here"},
		{"a: \"\\q\"\n", -EINVAL, 1, 5, "not YAML"},
		{"%YAML 2.0\n--- a\n", -EINVAL, 1, 1, "not YAML"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct reading reading = read_text(cases[i].text);
		struct diagnostic *error = reading.diagnostics.items;
		struct position position;

		if (reading.err != cases[i].err || reading.diagnostics.error_count != 1)
			fail_msg("case %zu: %d, %zu errors", i, reading.err,
				 reading.diagnostics.error_count);
		position = source_position(&reading.source, error->place.offset);
		if (position.line != cases[i].line || position.column != cases[i].column ||
		    !strstr(error->message, cases[i].message))
			fail_msg("case %zu: %zu:%zu: %s", i, position.line, position.column,
				 error->message);
		done(&reading);
	}
}

static void test_all_refusals_in_one_run(void **state)
{
	struct reading reading = read_text("a: &x 1\nb: *x\nb: 2\nc: !t 3\n<<: 4\n");

	(void)state;
	assert_int_equal(reading.err, 0);
	assert_int_equal(reading.diagnostics.error_count, 5);
	/* what stays: a, the first b, c */
	assert_int_equal(reading.root->length, 3);
	assert_int_equal(reading.root->first->next->value->kind, NODE_BROKEN);
	done(&reading);
}

static void test_duplicates_have_a_note(void **state)
{
	struct reading reading = read_text("a: 1\nb: 2\na: 3\na: 4\n");
	struct diagnostics *found = &reading.diagnostics;

	(void)state;
	assert_int_equal(found->error_count, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(found->items[i].notes->place.offset, 0);
	assert_int_equal(reading.root->length, 2);
	assert_memory_equal(reading.root->first->value->text, "1", 2);
	assert_null(reading.root->first->next->next);
	done(&reading);
}

static void test_depth_is_bounded(void **state)
{
	struct reading reading = read_text("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]");

	(void)state;
	assert_int_equal(reading.err, 0);
	done(&reading);
	reading = read_text("[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]");
	assert_int_equal(reading.err, -EINVAL);
	assert_int_equal(reading.diagnostics.items[0].place.offset, 16);
	done(&reading);
}

static void test_number_of_values_is_bounded(void **state)
{
	size_t size = 4 << 20;
	char *text = malloc(size);
	struct reading reading;

	(void)state;
	memset(text, ',', size);
	for (size_t i = 1; i < size; i += 2)
		text[i] = 'a';
	text[0] = '[';
	reading = read_bytes(text, size);
	assert_int_equal(reading.err, -EINVAL);
	assert_non_null(strstr(reading.diagnostics.items[0].message, "more than 1048576 values"));
	done(&reading);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trees),
		cmocka_unit_test(test_scalars_are_what_they_look_like),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_nul_from_an_escape),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_all_refusals_in_one_run),
		cmocka_unit_test(test_duplicates_have_a_note),
		cmocka_unit_test(test_depth_is_bounded),
		cmocka_unit_test(test_number_of_values_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
