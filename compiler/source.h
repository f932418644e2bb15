/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_SOURCE_H
#define MPLEX_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules.h"

enum {
	SOURCE_MAX = 16 << 20, /* bytes of a rule file */
};

/* A rule file as it is, byte for byte. */
struct source {
	char *path;	  /* as the user named it; "<stdin>" for "-" */
	const char *name; /* the path without its folders */
	char *text;	  /* `size` bytes and a NUL */
	size_t size;
	uint8_t sha256[32];
};

/* Where people look: both count from 1, the column in characters, not bytes. */
struct position {
	size_t line, column;
};

/*
 * Reads a whole file, or standard input for "-". Returns 0 or a negative errno, -EFBIG for more
 * than SOURCE_MAX bytes; on failure *source is untouched. Free with source_free.
 */
int source_read(const char *path, struct source *source);

/* The same for bytes in memory, of which it makes a copy. Returns 0, -EFBIG or -ENOMEM. */
int source_from_bytes(const char *path, const void *bytes, size_t size, struct source *source);

/* Frees what the two above made; harmless on a zeroed struct. */
void source_free(struct source *source);

/*
 * Checks that the source is text that reads as it looks: valid UTF-8 without hidden characters. The
 * first byte that breaks this is added to diagnostics as an error. Returns 0 or -EINVAL.
 */
int source_check(const struct source *source, struct diagnostics *diagnostics);

/* The length of the byte order mark at the start of the source: 0 or 3. */
size_t source_bom(const struct source *source);

/* The position of a byte; an offset behind the end is the end's. */
struct position source_position(const struct source *source, size_t offset);

/* The line that a byte stands on, without its line end and without a byte order mark. */
struct place source_line(const struct source *source, size_t offset);

/*
 * Decodes the UTF-8 character at the start of `size` bytes. Returns its bytes, 1 to 4, or 0 where
 * there is none: invalid, overlong, a surrogate, cut off, or size 0.
 */
size_t character_decode(const char *text, size_t size, uint32_t *character);

/*
 * Whether a character acts on a terminal or on how a line reads without being seen: controls other
 * than tab and line feed, line separators that editors do not show as such, marks that change the
 * direction of text, byte order marks, noncharacters.
 */
bool character_is_hidden(uint32_t character);

#endif
