/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Diagnostics: what a person, a terminal and an editor get to see of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "../../compiler/diagnostic.h"
#include "../../compiler/source.h"

static struct source make(const char *text)
{
	struct source source = {0};

	assert_int_equal(source_from_bytes("x.yaml", text, strlen(text), &source), 0);
	return source;
}

/* Not inlined: gcc 12 takes what the stream made for a local of this function. */
__attribute__((noinline)) static char *print(const struct diagnostics *diagnostics,
					     const struct source *source,
					     enum diagnostics_format format)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_int_equal(diagnostics_print(diagnostics, source, format, out), 0);
	fclose(out);
	return text;
}

static char *show_line(const struct source *source, struct place place, bool colour)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	diagnostics_show_line(source, place, colour, out);
	fclose(out);
	return text;
}

static void assert_printed(const struct diagnostics *diagnostics, const struct source *source,
			   const char *expected)
{
	char *text = print(diagnostics, source, DIAGNOSTICS_TEXT);

	assert_string_equal(text, expected);
	free(text);
}

static void assert_line(const char *line, struct place place, const char *expected)
{
	struct source source = make(line);
	char *text = show_line(&source, place, false);

	assert_string_equal(text, expected);
	free(text);
	source_free(&source);
}

static void test_text(void **state)
{
	struct source source = make("version: 1\nport: 0\nname: x\n");
	struct diagnostics diagnostics = {0};

	(void)state;
	assert_printed(&diagnostics, &source, "");
	/* Out of order: they are printed in the order of the file. */
	diagnostics_warning(&diagnostics, (struct place){19, 4}, "the name is %s", "short");
	diagnostics_error(&diagnostics, (struct place){17, 1}, "port %d", 0);
	diagnostics_note(&diagnostics, (struct place){0, 7}, "because of this");
	diagnostics_note(&diagnostics, (struct place){9, 1}, "and this");
	diagnostics_error(&diagnostics, NOWHERE, "no room");
	assert_int_equal(diagnostics.error_count, 2);
	assert_int_equal(diagnostics.warning_count, 1);
	assert_printed(&diagnostics, &source,
		       "mplexc: error: no room\n"
		       "x.yaml:2:7: error: port 0\n"
		       "    2 | port: 0\n"
		       "      |       ^\n"
		       "x.yaml:1:1: note: because of this\n"
		       "    1 | version: 1\n"
		       "      | ^~~~~~~\n"
		       "x.yaml:1:10: note: and this\n"
		       "    1 | version: 1\n"
		       "      |          ^\n"
		       "x.yaml:3:1: warning: the name is short\n"
		       "    3 | name: x\n"
		       "      | ^~~~\n");
	diagnostics_free(&diagnostics);
	source_free(&source);
}

static void test_without_source(void **state)
{
	struct diagnostics diagnostics = {0};

	(void)state;
	diagnostics_error(&diagnostics, (struct place){3, 1}, "cannot read it");
	assert_printed(&diagnostics, NULL, "mplexc: error: cannot read it\n");
	diagnostics_free(&diagnostics);
}

static void test_same_place_keeps_order(void **state)
{
	struct source source = make("a");
	struct diagnostics diagnostics = {0};
	char *text;

	(void)state;
	for (int i = 0; i < 20; i++)
		diagnostics_error(&diagnostics, (struct place){0, 1}, "number %02d", i);
	text = print(&diagnostics, &source, DIAGNOSTICS_TEXT);
	for (int i = 0, last = -1; i < 20; i++) {
		char message[32];
		char *at;

		snprintf(message, sizeof(message), "number %02d", i);
		at = strstr(text, message);
		assert_non_null(at);
		assert_true(at - text > last);
		last = at - text;
	}
	free(text);
	diagnostics_free(&diagnostics);
	source_free(&source);
}

static void test_warnings_are_errors(void **state)
{
	struct source source = make("a");
	struct diagnostics diagnostics = {.warnings_are_errors = true};

	(void)state;
	diagnostics_warning(&diagnostics, (struct place){0, 1}, "odd");
	assert_int_equal(diagnostics.error_count, 1);
	assert_int_equal(diagnostics.warning_count, 0);
	assert_printed(&diagnostics, &source, "x.yaml:1:1: error: odd\n    1 | a\n      | ^\n");
	diagnostics_free(&diagnostics);
	source_free(&source);
}

static void test_caret(void **state)
{
	(void)state;
	/* at the end of the text, of a place that goes on in the next line, of nothing */
	assert_line("abc", (struct place){3, 1}, "    1 | abc\n      |    ^\n");
	assert_line("abc\ndef", (struct place){1, 5}, "    1 | abc\n      |  ^~\n");
	assert_line("", (struct place){0, 0}, "    1 | \n      | ^\n");
	assert_line("abc\r\n", (struct place){0, 5}, "    1 | abc\n      | ^~~\n");
	assert_line("abc", (struct place){SIZE_MAX - 1, 1}, "    1 | abc\n      |    ^\n");
	/* columns, not bytes: é has one, 漢 two, a combining mark none */
	assert_line("\xc3\xa9: \xe6\xbc\xa2\xe5\xad\x97 z", (struct place){4, 6},
		    "    1 | \xc3\xa9: \xe6\xbc\xa2\xe5\xad\x97 z\n      |    ^~~~\n");
	assert_line("e\xcc\x81 z", (struct place){4, 1}, "    1 | e\xcc\x81 z\n      |   ^\n");
}

static void test_control_characters_are_shown(void **state)
{
	(void)state;
	assert_line("\ta\x1b[31m\x07z", (struct place){8, 1},
		    "    1 |  a<U+001B>[31m<U+0007>z\n      |                       ^\n");
	assert_line("a\xe2\x80\xaez", (struct place){4, 1},
		    "    1 | a<U+202E>z\n      |          ^\n");
	assert_line("a\xff\xc3z", (struct place){2, 1}, "    1 | a<FF><C3>z\n      |      ^~~~\n");
}

static void test_control_characters_in_messages(void **state)
{
	struct diagnostics diagnostics = {0};
	struct source source = {0};

	(void)state;
	assert_int_equal(source_from_bytes("a\x1b.yaml", "x", 1, &source), 0);
	diagnostics_error(&diagnostics, (struct place){0, 1}, "'%s'", "\x1b]0;title\x07\n\xff");
	assert_printed(&diagnostics, &source,
		       "a<U+001B>.yaml:1:1: error: '<U+001B>]0;title<U+0007><U+000A><FF>'\n"
		       "    1 | x\n      | ^\n");
	diagnostics_free(&diagnostics);
	source_free(&source);
}

static void test_long_lines_are_clipped(void **state)
{
	char line[1001], expected[400];
	struct source source;
	char *text;

	(void)state;
	for (int i = 0; i < 1000; i++)
		line[i] = 'a' + i % 26;
	line[1000] = '\0';
	source = make(line);

	/* near the start: only the end is clipped */
	text = show_line(&source, (struct place){60, 500}, false);
	snprintf(expected, sizeof(expected), "    1 | %.100s...\n      | %60s^%.39s\n", line, "",
		 "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~");
	assert_string_equal(text, expected);
	free(text);

	/* in the middle: 30 columns are left before it */
	text = show_line(&source, (struct place){500, 3}, false);
	snprintf(expected, sizeof(expected), "    1 | ...%.97s...\n      | %33s^~~\n", line + 470,
		 "");
	assert_string_equal(text, expected);
	free(text);

	/* at the end */
	text = show_line(&source, (struct place){999, 1}, false);
	snprintf(expected, sizeof(expected), "    1 | ...%.31s\n      | %33s^\n", line + 969, "");
	assert_string_equal(text, expected);
	free(text);
	source_free(&source);
}

static void test_colour(void **state)
{
	struct source source = make("abc");
	char *text = show_line(&source, (struct place){1, 2}, true);

	(void)state;
	assert_string_equal(text, "    1 | abc\n      |  \033[1;32m^~\033[0m\n");
	free(text);
	source_free(&source);
}

static void test_number_is_bounded(void **state)
{
	struct source source = make("a");
	struct diagnostics diagnostics = {0};
	size_t shown = 0;
	char *text;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		diagnostics_error(&diagnostics, (struct place){0, 1}, "wrong");
		diagnostics_note(&diagnostics, (struct place){0, 1}, "because");
	}
	diagnostics_warning(&diagnostics, (struct place){0, 1}, "odd");
	assert_int_equal(diagnostics.error_count, 100000);
	assert_true(diagnostics.count <= DIAGNOSTICS_KEPT);
	text = print(&diagnostics, &source, DIAGNOSTICS_TEXT);
	for (char *at = text; (at = strstr(at, "error: wrong")); at++)
		shown++;
	assert_int_equal(shown, DIAGNOSTICS_SHOWN);
	assert_non_null(strstr(text, "\nand 99951 more (errors: 100000, warnings: 1)\n"));
	free(text);
	diagnostics_free(&diagnostics);
	source_free(&source);
}

static void test_json(void **state)
{
	struct source source = make("\xc3\xa9\xc3\xa9: 1\nport: 0\n");
	struct diagnostics diagnostics = {0};
	json_t *json, *one, *note;
	char *text;

	(void)state;
	diagnostics_error(&diagnostics, (struct place){14, 1}, "port \xff");
	diagnostics_note(&diagnostics, (struct place){2, 5}, "here");
	diagnostics_error(&diagnostics, NOWHERE, "no room");
	diagnostics_warning(&diagnostics, (struct place){0, 0}, "odd");
	text = print(&diagnostics, &source, DIAGNOSTICS_JSON);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	json = json_loads(text, 0, NULL);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "file")), "x.yaml");
	assert_int_equal(json_integer_value(json_object_get(json, "errors")), 2);
	assert_int_equal(json_integer_value(json_object_get(json, "warnings")), 1);
	assert_int_equal(json_integer_value(json_object_get(json, "omitted")), 0);
	json_t *list = json_object_get(json, "diagnostics");
	assert_int_equal(json_array_size(list), 3);

	one = json_array_get(list, 0);
	assert_string_equal(json_string_value(json_object_get(one, "message")), "no room");
	assert_null(json_object_get(one, "line"));
	one = json_array_get(list, 1);
	assert_string_equal(json_string_value(json_object_get(one, "severity")), "warning");
	one = json_array_get(list, 2);
	assert_string_equal(json_string_value(json_object_get(one, "severity")), "error");
	assert_string_equal(json_string_value(json_object_get(one, "message")), "port <FF>");
	assert_int_equal(json_integer_value(json_object_get(one, "line")), 2);
	assert_int_equal(json_integer_value(json_object_get(one, "column")), 7);
	assert_int_equal(json_integer_value(json_object_get(one, "end_line")), 2);
	assert_int_equal(json_integer_value(json_object_get(one, "end_column")), 8);
	note = json_array_get(json_object_get(one, "notes"), 0);
	assert_string_equal(json_string_value(json_object_get(note, "severity")), "note");
	assert_int_equal(json_integer_value(json_object_get(note, "line")), 1);
	assert_int_equal(json_integer_value(json_object_get(note, "column")), 2);
	assert_int_equal(json_integer_value(json_object_get(note, "end_column")), 6);
	json_decref(json);
	free(text);
	diagnostics_free(&diagnostics);
	source_free(&source);
}

static void test_json_of_nothing(void **state)
{
	struct diagnostics diagnostics = {0};
	char *text = print(&diagnostics, NULL, DIAGNOSTICS_JSON);

	(void)state;
	assert_string_equal(text,
			    "{\"diagnostics\":[],\"errors\":0,\"omitted\":0,\"warnings\":0}\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_without_source),
		cmocka_unit_test(test_same_place_keeps_order),
		cmocka_unit_test(test_warnings_are_errors),
		cmocka_unit_test(test_caret),
		cmocka_unit_test(test_control_characters_are_shown),
		cmocka_unit_test(test_control_characters_in_messages),
		cmocka_unit_test(test_long_lines_are_clipped),
		cmocka_unit_test(test_colour),
		cmocka_unit_test(test_number_is_bounded),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_of_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
