/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One frame through the interpreter and through the program, and whether they agree.
 */
#ifndef MPLEX_TESTS_CHECK_H
#define MPLEX_TESTS_CHECK_H

#include "program.h"
#include "traffic.h"

struct check {
	struct outcome outcome; /* what the interpreter says */
	const char *difference; /* what they do not agree about, or NULL */
	char detail[256];	/* expected and got */
};

/* Runs a trial. Returns 0 with *check filled in, or a negative errno when it could not be run. */
int trial_check(struct program *program, const struct host *host, int interface,
		const struct trial *trial, struct check *check);

/*
 * Runs a trial and what the interpreter says of it, without a comparison; what it leaves in the
 * maps stays there, and counts as expected. Returns 0 or a negative errno.
 */
int trial_check_quietly(struct program *program, const struct host *host, const struct trial *trial,
			struct outcome *outcome);

/* Compares all counters and maps with what all trials so far should have left there. */
int program_check(const struct program *program, struct check *check);

/* Writes the trial and both sides' results down, for a person. */
void trial_report(struct program *program, const struct host *host, int interface,
		  const struct trial *trial, FILE *out);

#endif
