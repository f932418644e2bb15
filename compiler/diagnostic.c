/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Diagnostics: what every stage of the compiler has to say about the rule file.
 *
 * They are collected while the stages run and printed once, in the order of the file, so that one
 * run tells all that is wrong. Text for people is in the shape that compilers share and editors
 * jump from (file:line:column: error: …); JSON is for editors that want more. Whatever a rule file
 * holds, printing stays short and cannot act on the terminal.
 */
#include "diagnostic.h"

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include <jansson.h>

#include "source.h"
#include "text.h"

enum {
	LINE_COLUMNS = 100, /* of the source line that are shown */
	LEAD_COLUMNS = 60,  /* of them before the caret; more are clipped */
	KEEP_COLUMNS = 30,  /* of which then these are left */
};

static const char *const severity_names[] = {
	[SEVERITY_ERROR] = "error",
	[SEVERITY_WARNING] = "warning",
	[SEVERITY_NOTE] = "note",
};

static char *format_message(const char *format, va_list arguments)
{
	char *message;

	return vasprintf(&message, format, arguments) < 0 ? NULL : message;
}

static void add(struct diagnostics *diagnostics, enum severity severity, struct place place,
		const char *format, va_list arguments)
{
	size_t *count = severity == SEVERITY_ERROR ? &diagnostics->error_count
						   : &diagnostics->warning_count;

	(*count)++;
	diagnostics->last_kept = false;
	if (diagnostics->count == DIAGNOSTICS_KEPT)
		return;
	if (diagnostics->count == diagnostics->capacity) {
		size_t capacity = diagnostics->capacity ? diagnostics->capacity * 2 : 16;
		struct diagnostic *items;

		items = reallocarray(diagnostics->items, capacity, sizeof(*items));
		if (!items)
			return;
		diagnostics->items = items;
		diagnostics->capacity = capacity;
	}
	diagnostics->items[diagnostics->count++] = (struct diagnostic){
		.severity = severity,
		.place = place,
		.message = format_message(format, arguments),
	};
	diagnostics->last_kept = true;
}

void diagnostics_error(struct diagnostics *diagnostics, struct place place, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add(diagnostics, SEVERITY_ERROR, place, format, arguments);
	va_end(arguments);
}

void diagnostics_warning(struct diagnostics *diagnostics, struct place place, const char *format,
			 ...)
{
	enum severity severity =
		diagnostics->warnings_are_errors ? SEVERITY_ERROR : SEVERITY_WARNING;
	va_list arguments;

	va_start(arguments, format);
	add(diagnostics, severity, place, format, arguments);
	va_end(arguments);
}

void diagnostics_note(struct diagnostics *diagnostics, struct place place, const char *format, ...)
{
	struct diagnostic *note, **tail;
	va_list arguments;

	if (!diagnostics->last_kept)
		return;
	note = calloc(1, sizeof(*note));
	if (!note)
		return;
	note->severity = SEVERITY_NOTE;
	note->place = place;
	va_start(arguments, format);
	note->message = format_message(format, arguments);
	va_end(arguments);
	tail = &diagnostics->items[diagnostics->count - 1].notes;
	while (*tail)
		tail = &(*tail)->next;
	*tail = note;
}

void diagnostics_free(struct diagnostics *diagnostics)
{
	for (size_t i = 0; i < diagnostics->count; i++) {
		struct diagnostic *note = diagnostics->items[i].notes;

		while (note) {
			struct diagnostic *next = note->next;

			free(note->message);
			free(note);
			note = next;
		}
		free(diagnostics->items[i].message);
	}
	free(diagnostics->items);
	*diagnostics = (struct diagnostics){0};
}

/*
 * Prints the first character of `size` > 0 bytes so that it can be seen and does nothing else; a
 * NULL stream only measures. Returns its columns and sets its bytes.
 */
static size_t show_character(const char *text, size_t size, size_t *bytes, FILE *out)
{
	uint32_t character = 0;
	size_t length = character_decode(text, size, &character);
	char escaped[16];
	int width;

	*bytes = length ? length : 1;
	if (!length) {
		snprintf(escaped, sizeof(escaped), "<%02X>", (unsigned char)*text);
	} else if (character == '\t') {
		strcpy(escaped, " ");
	} else if (character == '\n' || character_is_hidden(character)) {
		snprintf(escaped, sizeof(escaped), "<U+%04X>", character);
	} else {
		if (out)
			fwrite(text, 1, length, out);
		width = wcwidth(character);
		return width < 0 ? 1 : width;
	}
	if (out)
		fputs(escaped, out);
	return strlen(escaped);
}

static void show_text(const char *text, FILE *out)
{
	size_t size = strlen(text), bytes;

	for (; size; text += bytes, size -= bytes)
		show_character(text, size, &bytes, out);
}

/* Where the line is shown from, so that the caret is not far to the right. */
static size_t clip_start(const struct source *source, struct place line, size_t offset)
{
	const char *text = source->text;
	size_t columns = 0, at = offset, keep = offset, bytes;

	while (at > line.offset && columns <= LEAD_COLUMNS) {
		do
			at--;
		while (at > line.offset && (text[at] & 0xc0) == 0x80);
		columns += show_character(text + at, offset - at, &bytes, NULL);
		if (columns <= KEEP_COLUMNS)
			keep = at;
	}
	return columns <= LEAD_COLUMNS ? at : keep;
}

static void repeat(char character, size_t count, FILE *out)
{
	while (count--)
		fputc(character, out);
}

void diagnostics_show_line(const struct source *source, struct place place, bool colour, FILE *out)
{
	size_t offset = place.offset > source->size ? source->size : place.offset;
	struct place line = source_line(source, offset);
	size_t end = line.offset + line.length, bytes, at;
	size_t column = 0, caret = 0, width = 0;
	/* Widths are Unicode's, whatever locale the user has. */
	locale_t unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL), before = NULL;

	if (unicode)
		before = uselocale(unicode);
	fprintf(out, "%5zu | ", source_position(source, offset).line);
	at = clip_start(source, line, offset);
	if (at > line.offset) {
		fputs("...", out);
		column = caret = 3;
	}
	for (; at < end && column < LINE_COLUMNS; at += bytes) {
		size_t columns = show_character(source->text + at, end - at, &bytes, out);

		if (at < offset)
			caret += columns;
		else if (at < offset + place.length)
			width += columns;
		column += columns;
	}
	fputs(at < end ? "...\n" : "\n", out);
	fputs("      | ", out);
	repeat(' ', caret, out);
	fputs(colour ? "\033[1;32m^" : "^", out);
	repeat('~', width > 1 ? width - 1 : 0, out);
	fputs(colour ? "\033[0m\n" : "\n", out);
	if (unicode) {
		uselocale(before);
		freelocale(unicode);
	}
}

static void print_one(const struct diagnostic *diagnostic, const struct source *source, bool colour,
		      FILE *out)
{
	static const char *const colours[] = {
		[SEVERITY_ERROR] = "\033[1;31m",
		[SEVERITY_WARNING] = "\033[1;35m",
		[SEVERITY_NOTE] = "\033[1;36m",
	};
	const char *bold = colour ? "\033[1m" : "", *plain = colour ? "\033[0m" : "";
	bool somewhere = source && diagnostic->place.offset != SIZE_MAX;

	fputs(bold, out);
	show_text(somewhere ? source->path : "mplexc", out);
	if (somewhere) {
		struct position position = source_position(source, diagnostic->place.offset);

		fprintf(out, ":%zu:%zu", position.line, position.column);
	}
	fprintf(out, ":%s %s%s:%s %s", plain, colour ? colours[diagnostic->severity] : "",
		severity_names[diagnostic->severity], plain, bold);
	show_text(diagnostic->message ? diagnostic->message : "out of memory", out);
	fprintf(out, "%s\n", plain);
	if (somewhere)
		diagnostics_show_line(source, diagnostic->place, colour, out);
}

static void print_text(const struct diagnostics *diagnostics, const struct diagnostic **order,
		       const struct source *source, FILE *out)
{
	const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
	bool colour = isatty(fileno(out)) && !(no_colour && *no_colour) &&
		      !(terminal && !strcmp(terminal, "dumb"));
	size_t total = diagnostics->error_count + diagnostics->warning_count, shown;

	for (shown = 0; shown < diagnostics->count && shown < DIAGNOSTICS_SHOWN; shown++) {
		print_one(order[shown], source, colour, out);
		for (const struct diagnostic *note = order[shown]->notes; note; note = note->next)
			print_one(note, source, colour, out);
	}
	if (total > shown)
		fprintf(out, "and %zu more (errors: %zu, warnings: %zu)\n", total - shown,
			diagnostics->error_count, diagnostics->warning_count);
}

/* Text as JSON takes it: bytes that are no UTF-8 are shown as in text output. */
static json_t *json_text(const char *text)
{
	json_t *json = json_string(text);
	struct text shown = {0};
	FILE *out;

	if (json)
		return json;
	out = text_open(&shown);
	if (out)
		show_text(text, out);
	if (!text_close(out, &shown))
		json = json_string(shown.bytes);
	free(shown.bytes);
	return json;
}

static json_t *json_one(const struct diagnostic *diagnostic, const struct source *source)
{
	json_t *json = json_pack("{s:s}", "severity", severity_names[diagnostic->severity]);
	const char *message = diagnostic->message ? diagnostic->message : "out of memory";
	struct position start, end;
	struct place place = diagnostic->place;

	if (json_object_set_new(json, "message", json_text(message))) {
		json_decref(json);
		return NULL;
	}
	if (!source || place.offset == SIZE_MAX)
		return json;
	start = source_position(source, place.offset);
	end = source_position(source, place.offset + place.length);
	if (json_object_set_new(json, "line", json_integer(start.line)) ||
	    json_object_set_new(json, "column", json_integer(start.column)) ||
	    json_object_set_new(json, "end_line", json_integer(end.line)) ||
	    json_object_set_new(json, "end_column", json_integer(end.column))) {
		json_decref(json);
		return NULL;
	}
	return json;
}

static json_t *json_all(const struct diagnostics *diagnostics, const struct diagnostic **order,
			const struct source *source)
{
	json_t *list = json_array(), *json;
	size_t total = diagnostics->error_count + diagnostics->warning_count, shown;

	for (shown = 0; shown < diagnostics->count && shown < DIAGNOSTICS_SHOWN; shown++) {
		json_t *one = json_one(order[shown], source), *notes = json_array();

		bool failed = false;

		for (const struct diagnostic *note = order[shown]->notes; note; note = note->next)
			failed |= json_array_append_new(notes, json_one(note, source)) != 0;
		failed |= json_object_set_new(one, "notes", notes) != 0;
		if (failed)
			json_decref(one);
		if (failed || json_array_append_new(list, one)) {
			json_decref(list);
			return NULL;
		}
	}
	json = json_pack("{s:I, s:I, s:I}", "errors", (json_int_t)diagnostics->error_count,
			 "warnings", (json_int_t)diagnostics->warning_count, "omitted",
			 (json_int_t)(total - shown));
	if (json_object_set_new(json, "diagnostics", list) ||
	    (source && json_object_set_new(json, "file", json_text(source->path)))) {
		json_decref(json);
		return NULL;
	}
	return json;
}

static int print_json(const struct diagnostics *diagnostics, const struct diagnostic **order,
		      const struct source *source, FILE *out)
{
	json_t *json = json_all(diagnostics, order, source);
	int err;

	if (!json)
		return -ENOMEM;
	err = json_dumpf(json, out, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(json);
	fputc('\n', out);
	/* A stream that does not take it keeps that in its error flag. */
	return err && !ferror(out) ? -ENOMEM : 0;
}

/* What stands nowhere comes first; what stands at one place stays in the order it came in. */
static int compare(const void *left, const void *right)
{
	const struct diagnostic *a = *(const struct diagnostic *const *)left;
	const struct diagnostic *b = *(const struct diagnostic *const *)right;
	size_t a_at = a->place.offset + 1, b_at = b->place.offset + 1;

	if (a_at != b_at)
		return a_at < b_at ? -1 : 1;
	return a < b ? -1 : a > b;
}

int diagnostics_print(const struct diagnostics *diagnostics, const struct source *source,
		      enum diagnostics_format format, FILE *out)
{
	const struct diagnostic *order[DIAGNOSTICS_KEPT];

	for (size_t i = 0; i < diagnostics->count; i++)
		order[i] = &diagnostics->items[i];
	qsort(order, diagnostics->count, sizeof(*order), compare);
	if (format == DIAGNOSTICS_JSON)
		return print_json(diagnostics, order, source, out);
	print_text(diagnostics, order, source, out);
	return 0;
}
