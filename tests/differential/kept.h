/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Failures that are kept as tests: a rule file NAME.yaml, and beside it NAME.trial, with the one
 * frame and all that it met, as lines of text. A cookie holds for minutes only, so what is kept is
 * how old it was; it is made anew for each run.
 */
#ifndef MPLEX_TESTS_KEPT_H
#define MPLEX_TESTS_KEPT_H

#include <stdbool.h>

#include "../../compiler/plan.h"
#include "traffic.h"

struct kept {
	struct plan_options plan;
	struct host host;
	bool forwarding; /* arrives at the interface that forwards */
	struct trial trial;
	struct {
		bool present;
		bool probe; /* made for seq, and not for seq - 1 */
		unsigned age;
	} cookie;
};

/*
 * Writes NAME.yaml and NAME.trial into the folder. What meets a socket of the kernel's cannot be
 * kept as a frame; then there is only the rule file. now is CLOCK_MONOTONIC, ns. Returns 0 or a
 * negative errno.
 */
int kept_write(const char *folder, const char *name, const char *rules, const char *comment,
	       uint64_t now, struct kept *kept);

/* Reads a NAME.trial. Returns 0, or a negative errno and then *kept is undefined. */
int kept_read(const char *path, struct kept *kept);

/* Gives the frame its cookie for this moment. Returns 0 or -EIO. */
int kept_renew(struct kept *kept, uint64_t now);

#endif
