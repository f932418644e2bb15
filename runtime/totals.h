/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What was counted since mplex was first attached to an interface.
 *
 * A generation counts in maps of its own, from 0. Its document `totals` says what came before it:
 *
 *	{"rows": {LISTENER: {"reasons": {REASON: [PACKETS, BYTES]}, "routes": {TAG: [...]}}},
 *	 "base": [[PACKETS, BYTES], ...],	what ingress_counters, which may be an earlier
 *						generation's, had when this one took it over
 *	 "absorbed": [ID, ...]}			generations that were rolled back, and are in "rows"
 *
 * It is written once the generation runs and the one before counts no more. Until then that one's
 * maps are asked, so no count is ever missing or there twice, whenever one looks.
 */
#ifndef MPLEX_RUN_TOTALS_H
#define MPLEX_RUN_TOTALS_H

#include <stdbool.h>
#include <stddef.h>

#include "generation.h"

struct row;

/*
 * All outcomes of a generation with their totals, as report_rows has them; strings are the
 * generation's. Returns 0 or -errno with a sentence, and then *out and *count are untouched. Free
 * *out.
 */
int totals_rows(const char *place, const struct generation *generation, struct row **out,
		size_t *count, char *error, size_t n);

/* Whether the document is there. */
bool totals_there(const struct generation *generation);

/*
 * Writes the document of a generation that took over from another, which counts no more. Returns 0
 * or -errno with a sentence.
 */
int totals_carry(const struct generation *generation, const struct generation *before, char *error,
		 size_t n);

/*
 * Adds to the document of a generation what another counted that ran after it, was rolled back and
 * counts no more. Adding it again changes nothing. Returns 0 or -errno with a sentence.
 */
int totals_absorb(const struct generation *generation, const struct generation *gone, char *error,
		  size_t n);

#endif
