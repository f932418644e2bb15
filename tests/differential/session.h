/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One rule file and everything that is tried on it.
 */
#ifndef MPLEX_TESTS_SESSION_H
#define MPLEX_TESTS_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "../../compiler/plan.h"

enum {
	OUTCOMES_MAX = 48,
};

struct options {
	uint64_t seed;
	unsigned long files, frames, jobs;
	unsigned long seconds; /* when to begin no more of them; 0: never */
	bool patterns, udp_alone, first, progress;
	const char *rules; /* a rule file's name, or NULL: random ones */
	const char *save;  /* the folder for failures, or NULL */
	bool planned;	   /* plan holds; else it is random */
	struct plan_options plan;
};

/* What was done so far. */
struct tasks {
	unsigned long files, frames, failures;
	uint32_t instructions; /* the most that the verifier went through, and for which seed */
	uint64_t instructions_seed;
	uint32_t tc_instructions;
	struct {
		char reason[24];
		unsigned long frames;
	} outcomes[OUTCOMES_MAX];
};

void count_outcomes(struct tasks *tasks, const char *reason, unsigned long frames);

/*
 * Makes the rule file of this number, and tries frames on its program; adds to *tasks. Reports
 * failures on standard output.
 */
void session_run(const struct options *options, struct tasks *tasks, uint64_t seed,
		 bool splits_frames);

/* Writes the rule file of this number, without trying it. */
void session_write(const struct options *options, uint64_t seed, FILE *out);

/* Runs a kept failure again. Returns whether both sides agree now. */
bool session_repeat(const char *trial, bool splits_frames);

#endif
