/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_REPORT_H
#define MPLEX_RUN_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "counters.h"

struct generation;
struct json_t;
struct manifest;
struct record;

/* How a report is written. */
enum report_form {
	REPORT_TABLE, /* redrawn in place, on a terminal */
	REPORT_LINES, /* one line for each counter that moved */
	REPORT_JSON,  /* one object a line */
};

/* One outcome of a listener. */
struct row {
	const char *listener;
	const char *reason;
	const char *route; /* the tag, or NULL */
	uint16_t port;	   /* with a route */
	struct count count;
};

struct report {
	FILE *out;
	enum report_form form;
	const char *interface;
	struct row *last; /* what was shown before, row_count of them; NULL: nothing yet */
	size_t row_count;
	unsigned drawn; /* lines of the table that stands on the terminal */
};

/*
 * All outcomes that the manifest names, listener by listener, with their counts, in an order that
 * is always the same. Returns 0 or -ENOMEM, and then *out and *count are untouched. Free *out.
 */
int report_rows(const struct manifest *manifest, const struct counters *counters, struct row **out,
		size_t *count);

/* What became of an object. */
struct attached {
	const struct generation *generation;
	const char *tc;	  /* as attachment_tc has it */
	bool replaced;	  /* something ran before */
	bool pinned;	  /* it stays when this process ends */
	unsigned confirm; /* seconds in which it has to be confirmed; 0: it need not be */
};

/*
 * Adds what is known of a generation, and how its TC programs are attached, to a JSON object.
 */
void report_generation_json(struct json_t *into, const struct record *record, const char *tc);

/* The same as lines of text; verb says what became of it: "attached". */
void report_generation_text(FILE *out, const char *interface, const char *verb,
			    const struct record *record, const char *tc);

/* Says what was attached, where and how. */
void report_attached(struct report *report, const struct attached *attached);

/*
 * Shows the counters: in a table or lines those that are not 0, in JSON all. seconds passed since
 * the last time. With final, lines are shown whether they moved or not. rows, as report_rows has
 * them, then belong to the report.
 */
void report_counters(struct report *report, struct row *rows, size_t count, double seconds,
		     bool final);

/* Says that what runs was loaded anew, for other addresses. */
void report_followed(struct report *report);

/* Says that nothing is attached any more. */
void report_detached(struct report *report);

void report_free(struct report *report);

#endif
