/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Part of the build: reads the templates and writes their parts as C, for parts.h.
 *
 *	embed_parts LIST.h TEXT.c TEMPLATE...
 *
 * A line "part: NAME (needs: A, B)" in a comment of its own starts a part, which ends at the next
 * such line or with the file; what stands above the first part of a file is not emitted. A line
 * "written: NAME" names a part that the compiler writes. A need that is no part, a name that is
 * there twice or needs that go in a circle fail the build.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PARTS_MAX = 256,
	NEEDS_MAX = 32,
	TEMPLATE_MAX = 1 << 20,
};

struct part {
	char *name;
	char *needs[NEEDS_MAX];
	size_t need_count;
	const char *text; /* NULL: written by the compiler */
	size_t length;
	enum {
		NEW,
		ENTERED,
		LEFT
	} visit;
};

static struct part parts[PARTS_MAX];
static size_t part_count;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("embed_parts: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

static struct part *find(const char *name)
{
	for (size_t i = 0; i < part_count; i++)
		if (!strcmp(parts[i].name, name))
			return &parts[i];
	return NULL;
}

/* Reads a name at *at and steps over it. */
static char *take_name(const char *file, const char **at)
{
	size_t length = 0;
	char *name;

	*at += strspn(*at, " ");
	while (isalnum((unsigned char)(*at)[length]) || (*at)[length] == '_')
		length++;
	name = strndup(*at, length);
	if (!length || !name)
		fail("%s: a part without a name: %.40s", file, *at);
	*at += length;
	return name;
}

static struct part *add_part(const char *file, const char **at)
{
	char *name = take_name(file, at);

	if (find(name))
		fail("%s: part %s is there twice", file, name);
	if (part_count == PARTS_MAX)
		fail("%s: more than %d parts", file, PARTS_MAX);
	parts[part_count].name = name;
	return &parts[part_count++];
}

static void take_needs(const char *file, struct part *part, const char *at)
{
	static const char lead[] = " (needs:";

	if (strncmp(at, lead, sizeof(lead) - 1))
		return;
	at += sizeof(lead) - 1;
	do {
		if (part->need_count == NEEDS_MAX)
			fail("%s: part %s needs more than %d others", file, part->name, NEEDS_MAX);
		part->needs[part->need_count++] = take_name(file, &at);
	} while (*at++ == ',');
	if (at[-1] != ')')
		fail("%s: part %s: the list of needs is not closed", file, part->name);
}

static char *read_template(const char *file)
{
	char *text = malloc(TEMPLATE_MAX + 1);
	FILE *in = fopen(file, "r");
	size_t length;

	if (!in || !text)
		fail("%s: %s", file, strerror(errno));
	length = fread(text, 1, TEMPLATE_MAX, in);
	if (ferror(in) || length == TEMPLATE_MAX)
		fail("%s: cannot read it, or it is too large", file);
	text[length] = 0;
	fclose(in);
	return text;
}

static void read_parts(const char *file)
{
	static const char part_mark[] = "/* part: ", written_mark[] = "/* written: ";
	struct part *part = NULL;
	const char *next;

	for (const char *line = read_template(file); *line; line = next) {
		const char *at = line;

		next = strchrnul(line, '\n');
		next += *next == '\n';
		if (!strncmp(line, written_mark, sizeof(written_mark) - 1)) {
			at += sizeof(written_mark) - 1;
			add_part(file, &at);
		} else if (!strncmp(line, part_mark, sizeof(part_mark) - 1)) {
			at += sizeof(part_mark) - 1;
			part = add_part(file, &at);
			take_needs(file, part, at);
			part->text = next;
		} else if (part) {
			part->length = next - part->text;
		}
	}
}

static void check_needs(struct part *part)
{
	if (part->visit == LEFT)
		return;
	if (part->visit == ENTERED)
		fail("part %s needs itself, by way of others", part->name);
	part->visit = ENTERED;
	for (size_t i = 0; i < part->need_count; i++) {
		struct part *need = find(part->needs[i]);

		if (!need)
			fail("part %s needs %s, which is no part", part->name, part->needs[i]);
		check_needs(need);
	}
	part->visit = LEFT;
}

static void write_string(FILE *out, const char *text, size_t length)
{
	while (length && isspace((unsigned char)text[length - 1]))
		length--;
	fputc('"', out);
	for (size_t i = 0; i < length; i++) {
		switch (text[i]) {
		case '\n':
			fputs("\\n\"\n\t\"", out);
			break;
		case '\t':
			fputs("\\t", out);
			break;
		case '"':
		case '\\':
			fputc('\\', out);
			/* fallthrough */
		default:
			fputc(text[i], out);
		}
	}
	fputs("\\n\"", out);
}

static FILE *create(const char *file)
{
	FILE *out = fopen(file, "w");

	if (!out)
		fail("%s: %s", file, strerror(errno));
	return out;
}

static void finish(FILE *out, const char *file)
{
	if (ferror(out) | fclose(out))
		fail("%s: cannot write it", file);
}

static bool holds(const char *file, const char *text, size_t length)
{
	FILE *in = fopen(file, "r");
	size_t at = 0;
	int c;

	if (!in)
		return false;
	while ((c = fgetc(in)) != EOF && at < length && c == (unsigned char)text[at])
		at++;
	fclose(in);
	return c == EOF && at == length;
}

/* Left alone where nothing changes: all that includes it would be compiled again. */
static void write_list(const char *file)
{
	char *text;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		fail("out of memory");
	fputs("enum part_id {\n", out);
	for (size_t i = 0; i < part_count; i++)
		fprintf(out, "\tPART_%s,\n", parts[i].name);
	fputs("\tPARTS,\n};\n", out);
	finish(out, file);
	if (!holds(file, text, length)) {
		out = create(file);
		fwrite(text, 1, length, out);
		finish(out, file);
	}
	free(text);
}

int main(int argc, char **argv)
{
	FILE *text;

	if (argc < 4)
		fail("usage: embed_parts LIST.h TEXT.c TEMPLATE...");
	for (int i = 3; i < argc; i++)
		read_parts(argv[i]);
	for (size_t i = 0; i < part_count; i++)
		check_needs(&parts[i]);

	write_list(argv[1]);
	text = create(argv[2]);
	fputs("#include \"parts.h\"\n\nconst struct part parts[PARTS] = {\n", text);
	for (size_t i = 0; i < part_count; i++) {
		const struct part *part = &parts[i];

		fprintf(text, "[PART_%s] = {\"%s\", ", part->name, part->name);
		if (part->text)
			write_string(text, part->text, part->length);
		else
			fputs("0", text);
		fputs(", ", text);
		if (part->need_count) {
			fputs("(const enum part_id[]){", text);
			for (size_t j = 0; j < part->need_count; j++)
				fprintf(text, "PART_%s, ", part->needs[j]);
			fprintf(text, "}, %zu},\n", part->need_count);
		} else {
			fputs("0, 0},\n", text);
		}
	}
	fputs("};\n", text);
	finish(text, argv[2]);
	return 0;
}
