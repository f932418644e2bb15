/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_DIAGNOSTIC_H
#define MPLEX_DIAGNOSTIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "rules.h"

enum severity {
	SEVERITY_ERROR,
	SEVERITY_WARNING,
	SEVERITY_NOTE,
};

enum diagnostics_format {
	DIAGNOSTICS_TEXT,
	DIAGNOSTICS_JSON,
};

enum {
	DIAGNOSTICS_SHOWN = 50,	 /* errors and warnings printed; the rest is only counted */
	DIAGNOSTICS_KEPT = 1000, /* errors and warnings to choose those from, the first by place */
};

struct diagnostic {
	enum severity severity;
	struct place place;
	char *message;		  /* one sentence without a full stop, or NULL for lack of memory */
	struct diagnostic *notes; /* of an error or warning */
	struct diagnostic *next;  /* the next note of the same */
};

/* All that is wrong with a rule file. Zeroed, it is empty and ready. */
struct diagnostics {
	bool warnings_are_errors; /* set before the first is added */
	size_t error_count, warning_count;
	struct diagnostic *items;
	size_t count, capacity;
	bool last_kept; /* whether a note has something to belong to */
};

/* Of something that stands at no place in the source. */
#define NOWHERE ((struct place){SIZE_MAX, 0})

/*
 * Add an error or a warning at a place, or a note to what was added last. The message is one
 * sentence that says what is wrong and what would be right. Adding never fails: without memory the
 * text is lost but not the count.
 */
__attribute__((format(printf, 3, 4))) void
diagnostics_error(struct diagnostics *diagnostics, struct place place, const char *format, ...);
__attribute__((format(printf, 3, 4))) void
diagnostics_warning(struct diagnostics *diagnostics, struct place place, const char *format, ...);
__attribute__((format(printf, 3, 4))) void
diagnostics_note(struct diagnostics *diagnostics, struct place place, const char *format, ...);

/*
 * Prints them in the order of their places. source is the text that the places point into, or NULL
 * when it could not be read. As text nothing is printed where there is nothing to say; as JSON
 * there is always exactly one line, one object (docs/mplexc.md). Returns 0 or -ENOMEM (JSON only);
 * whether the stream took it is the caller's to check.
 */
int diagnostics_print(const struct diagnostics *diagnostics, const struct source *source,
		      enum diagnostics_format format, FILE *out);

/* Frees all of them; harmless on a zeroed struct. */
void diagnostics_free(struct diagnostics *diagnostics);

/*
 * The lines under a message: the source line, clipped around the place, and a caret under it.
 * Nothing that the line holds can act on the terminal.
 */
void diagnostics_show_line(const struct source *source, struct place place, bool colour, FILE *out);

#endif
