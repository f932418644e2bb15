/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Smaller failures, by leaving out larger pieces first and then smaller ones.
 */
#include <stdlib.h>
#include <string.h>

#include "shrink.h"

enum {
	COMPILES = 60,
	PIECE = 1024, /* bytes of a frame, to begin with */
	HEAD = 2,     /* lines before the first listener */
};

/* In the same way and for the same tuple: what fails otherwise may be another mistake. */
static bool still_fails(const struct failure *failure, struct program *program,
			const struct trial *trial)
{
	const struct check *first = failure->first;
	struct check check;

	return !trial_check(program, failure->host, failure->interface, trial, &check) &&
	       check.difference && !strcmp(check.difference, first->difference) &&
	       !memcmp(&check.outcome.tuple, &first->outcome.tuple, sizeof(first->outcome.tuple));
}

void shrink_frame(const struct failure *failure, struct program *program, struct trial *trial)
{
	static struct trial smaller;

	for (size_t size = PIECE; size; size /= 2)
		for (size_t at = 0; at < trial->length; at += size) {
			size_t end = at + size < trial->length ? at + size : trial->length;

			smaller = *trial;
			memset(smaller.frame + at, 0, end - at);
			if (memcmp(smaller.frame, trial->frame, trial->length) &&
			    still_fails(failure, program, &smaller))
				*trial = smaller;
		}
	for (size_t size = PIECE; size; size /= 2)
		while (trial->length >= FRAME_MIN + size) {
			smaller = *trial;
			smaller.length -= size;
			if (smaller.linear > smaller.length)
				smaller.linear = 0;
			if (!still_fails(failure, program, &smaller))
				break;
			*trial = smaller;
		}
}

char *find_line(char *text, size_t number)
{
	while (number-- && *text)
		text = strchr(text, '\n') + 1;
	return text;
}

size_t count_lines(const char *text)
{
	size_t lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

/* The text without some of its lines; the caller frees it. */
static char *without_lines(const char *text, size_t first, size_t count)
{
	char *copy = strdup(text), *from, *to;

	if (!copy)
		abort();
	from = find_line(copy, first);
	to = find_line(from, count);
	memmove(from, to, strlen(to) + 1);
	return copy;
}

static bool text_fails(const struct failure *failure, const char *text, const struct trial *trial)
{
	struct program program;
	FILE *nowhere = fopen("/dev/null", "we");
	bool fails = false;

	if (nowhere &&
	    !program_make(text, strlen(text), failure->plan, failure->host, nowhere, &program)) {
		fails = still_fails(failure, &program, trial);
		program_free(&program);
	}
	if (nowhere)
		fclose(nowhere);
	return fails;
}

/* Lines up to the one where the next listener begins, or to the end. */
static size_t listener_lines(const char *text, size_t first)
{
	size_t count = 1, lines = count_lines(text);

	while (first + count < lines) {
		const char *line = find_line((char *)text, first + count);

		if (line[0] == ' ' && line[1] == ' ' && line[2] != ' ')
			break;
		count++;
	}
	return count;
}

/* Takes lines out of *text if it still fails without them. */
static bool take_out(const struct failure *failure, const struct trial *trial, char **text,
		     size_t first, size_t count)
{
	char *smaller = without_lines(*text, first, count);
	bool fails = text_fails(failure, smaller, trial);

	free(fails ? *text : smaller);
	if (fails)
		*text = smaller;
	return fails;
}

char *shrink_text(const struct failure *failure, const char *text, const struct trial *trial)
{
	char *kept = strdup(text);
	int compiles = 0;

	if (!kept)
		abort();
	for (size_t at = HEAD; at < count_lines(kept) && compiles < COMPILES; compiles++) {
		size_t count = listener_lines(kept, at);

		if (!take_out(failure, trial, &kept, at, count))
			at += count;
	}
	for (size_t size = count_lines(kept) / 2; size; size /= 2)
		for (size_t at = HEAD; at < count_lines(kept) && compiles < COMPILES; compiles++)
			if (!take_out(failure, trial, &kept, at, size))
				at += size;
	return kept;
}
