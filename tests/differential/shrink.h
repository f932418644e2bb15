/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Making smaller what failed, as long as it fails in the same way.
 */
#ifndef MPLEX_TESTS_SHRINK_H
#define MPLEX_TESTS_SHRINK_H

#include "check.h"

/* A failure, and the rule file's text that it was seen with. */
struct failure {
	const struct plan_options *plan;
	const struct host *host;
	int interface;	     /* as for program_run */
	struct check *first; /* as it was seen first */
};

/* Zeroes what of the frame does not matter, and cuts off its end. */
void shrink_frame(const struct failure *failure, struct program *program, struct trial *trial);

/*
 * The rule file without the lines that do not matter; the caller frees it. It takes a run of the
 * compiler and of clang for each attempt, so there is an end to them.
 */
char *shrink_text(const struct failure *failure, const char *text, const struct trial *trial);

/* How many lines a text has, and where one of them begins. */
size_t count_lines(const char *text);
char *find_line(char *text, size_t number);

#endif
