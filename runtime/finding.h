/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a look at the machine found: one sentence each, with a verdict and, where one helps, the
 * command that mends it. Checks before a load, the doctor and the status all speak in findings.
 */
#ifndef MPLEX_RUN_FINDING_H
#define MPLEX_RUN_FINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum verdict {
	VERDICT_OK,
	VERDICT_UNKNOWN, /* could not be told, and why */
	VERDICT_WARNING, /* works, but not as most expect */
	VERDICT_PROBLEM, /* will not work */
};

/* "ok", "unknown", "warning" or "problem" */
const char *verdict_name(enum verdict verdict);

struct finding {
	const char *check; /* a literal: "vlan" */
	enum verdict verdict;
	char text[1024];  /* one sentence, no full stop */
	char remedy[512]; /* a command, or "" */
};

/* In the order in which they were found; all zero: none yet. */
struct findings {
	struct finding *list;
	size_t count;
	bool incomplete; /* memory ran out */
};

/* Adds a finding. */
void found(struct findings *findings, const char *check, enum verdict verdict, const char *format,
	   ...) __attribute__((format(printf, 4, 5)));

/* Gives the finding that was added last its remedy. */
void mended_by(struct findings *findings, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Whether one is at least as bad as the verdict. */
bool findings_have(const struct findings *findings, enum verdict verdict);

/* Writes text and remedy as one sentence, cut to size. */
void finding_sentence(const struct finding *finding, char *sentence, size_t size);

/* A line for each, and one for its remedy. */
void findings_text(const struct findings *findings, FILE *out);

/* A JSON array of them (json_t), or NULL when memory ran out. */
struct json_t *findings_json(const struct findings *findings);

void findings_free(struct findings *findings);

#endif
