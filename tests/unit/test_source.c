/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The source: bytes in, positions and complaints out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../compiler/diagnostic.h"
#include "../../compiler/source.h"

static struct source make(const char *text, size_t size)
{
	struct source source = {0};

	assert_int_equal(source_from_bytes("folder/x.yaml", text, size, &source), 0);
	return source;
}

static void test_bytes_and_digest(void **state)
{
	/* FIPS 180-2, appendix B.1 */
	static const uint8_t abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
					0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
					0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
					0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
	struct source source = make("abc", 3);

	(void)state;
	assert_string_equal(source.path, "folder/x.yaml");
	assert_string_equal(source.name, "x.yaml");
	assert_int_equal(source.size, 3);
	assert_memory_equal(source.text, "abc", 4);
	assert_memory_equal(source.sha256, abc, 32);
	source_free(&source);
	assert_null(source.text);
	source_free(&source);
}

static void test_files(void **state)
{
	struct source source = {.size = 77};
	char path[] = "/tmp/mplex-source-XXXXXX";
	int fd = mkstemp(path);
	char *large = malloc(SOURCE_MAX + 1);

	(void)state;
	assert_int_equal(source_read("/nonexistent/rules.yaml", &source), -ENOENT);
	assert_int_equal(source_read("/", &source), -EISDIR);
	assert_int_equal(source_read("/dev/zero", &source), -EFBIG);
	assert_int_equal(source.size, 77);

	assert_int_equal(source_read(path, &source), 0);
	assert_int_equal(source.size, 0);
	source_free(&source);

	memset(large, 'x', SOURCE_MAX + 1);
	assert_int_equal(write(fd, large, SOURCE_MAX), SOURCE_MAX);
	assert_int_equal(source_read(path, &source), 0);
	assert_int_equal(source.size, SOURCE_MAX);
	assert_memory_equal(source.text, large, SOURCE_MAX);
	source_free(&source);
	assert_int_equal(write(fd, large, 1), 1);
	assert_int_equal(source_read(path, &source), -EFBIG);
	assert_int_equal(source_from_bytes("x", large, SOURCE_MAX + 1, &source), -EFBIG);

	close(fd);
	unlink(path);
	free(large);
}

static void test_standard_input(void **state)
{
	int ends[2], saved = dup(STDIN_FILENO);
	struct source source;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "abc", 3), 3);
	close(ends[1]);
	dup2(ends[0], STDIN_FILENO);
	close(ends[0]);
	assert_int_equal(source_read("-", &source), 0);
	dup2(saved, STDIN_FILENO);
	close(saved);
	assert_string_equal(source.name, "<stdin>");
	assert_int_equal(source.size, 3);
	source_free(&source);
}

static void test_positions(void **state)
{
	/* a line, a line of characters of 1 to 4 bytes, an empty one with CRLF, one without end */
	static const char text[] = "one\n\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82z\n\r\nlast";
	static const struct {
		size_t offset, line, column, line_offset, line_length;
	} cases[] = {{0, 1, 1, 0, 3},	{2, 1, 3, 0, 3},   {3, 1, 4, 0, 3},   {4, 2, 1, 4, 10},
		     {6, 2, 2, 4, 10},	{7, 2, 2, 4, 10},  {9, 2, 3, 4, 10},  {13, 2, 4, 4, 10},
		     {14, 2, 5, 4, 10}, {15, 3, 1, 15, 0}, {16, 3, 2, 15, 0}, {17, 4, 1, 17, 4},
		     {20, 4, 4, 17, 4}, {21, 4, 5, 17, 4}, {999, 4, 5, 17, 4}};
	struct source source = make(text, sizeof(text) - 1);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct position position = source_position(&source, cases[i].offset);
		struct place line = source_line(&source, cases[i].offset);

		if (position.line != cases[i].line || position.column != cases[i].column ||
		    line.offset != cases[i].line_offset || line.length != cases[i].line_length)
			fail_msg("offset %zu: %zu:%zu, line at %zu of %zu", cases[i].offset,
				 position.line, position.column, line.offset, line.length);
	}
	source_free(&source);
}

static void test_byte_order_mark(void **state)
{
	struct source source = make("\xef\xbb\xbfkey\nx", 8);

	(void)state;
	assert_int_equal(source_bom(&source), 3);
	assert_int_equal(source_position(&source, 3).column, 1);
	assert_int_equal(source_position(&source, 0).column, 1);
	assert_int_equal(source_line(&source, 0).offset, 3);
	assert_int_equal(source_line(&source, 5).offset, 3);
	assert_int_equal(source_line(&source, 5).length, 3);
	assert_int_equal(source_line(&source, 7).offset, 7);
	source_free(&source);
}

static void test_check(void **state)
{
	static const struct {
		const char *text;
		size_t size;
		int offset; /* of what is wrong, -1: nothing */
	} cases[] = {
		{"", 0, -1},
		{"a: b\n", 5, -1},
		{"a:\tb\r\n", 6, -1},
		{"\xef\xbb\xbf"
		 "a",
		 4, -1},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", 9, -1},
		{"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbd", 10, -1},
		{"ab\0c", 4, 2},     /* NUL */
		{"a\x1b[31m", 6, 1}, /* escape */
		{"a\rb", 3, 1},	     /* a carriage return alone */
		{"ab\r", 3, 2},
		{"a\x7f", 2, 1},
		{"a\xc2\x85", 3, 1},	 /* NEL, a line end in YAML only */
		{"a\xe2\x80\xa8", 4, 1}, /* line separator */
		{"a\xe2\x80\xae", 4, 1}, /* right-to-left override */
		{"a\xe2\x81\xa6", 4, 1}, /* isolate */
		{"a\xef\xbb\xbf", 4, 1}, /* byte order mark inside */
		{"a\xef\xbf\xbf", 4, 1}, /* U+FFFF */
		{"a\xf0\x9f\xbf\xbe", 5, 1},
		{"a\x80", 2, 1}, /* continuation alone */
		{"a\xc3", 2, 1}, /* cut off */
		{"a\xc3(", 3, 1},
		{"a\xe2\x82", 3, 1},
		{"a\xc0\xaf", 3, 1}, /* overlong */
		{"a\xe0\x80\xaf", 4, 1},
		{"a\xf0\x80\x80\xaf", 5, 1},
		{"a\xed\xa0\x80", 4, 1},     /* surrogate */
		{"a\xf4\x90\x80\x80", 5, 1}, /* above U+10FFFF */
		{"a\xff\xfe", 3, 1},
		{"a\xf8\x90\x80\x80", 5, 1},
		{"a\xc1\x90\x80\x80", 5, 1},
		{"\xff\xfe"
		 "a\0",
		 4, 0}, /* UTF-16 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct diagnostics diagnostics = {0};
		struct source source = make(cases[i].text, cases[i].size);
		int err = source_check(&source, &diagnostics);

		if (cases[i].offset < 0) {
			if (err || diagnostics.error_count)
				fail_msg("case %zu: refused", i);
		} else {
			if (err != -EINVAL || diagnostics.error_count != 1)
				fail_msg("case %zu: not refused", i);
			assert_int_equal(diagnostics.items[0].place.offset, cases[i].offset);
		}
		diagnostics_free(&diagnostics);
		source_free(&source);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_and_digest), cmocka_unit_test(test_files),
		cmocka_unit_test(test_standard_input),	 cmocka_unit_test(test_positions),
		cmocka_unit_test(test_byte_order_mark),	 cmocka_unit_test(test_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
