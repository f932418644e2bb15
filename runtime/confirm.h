/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A generation on probation: unless it is confirmed in time, what ran before runs again.
 *
 * The document `confirm` of the generation holds the deadline, by a clock that no one sets
 * (CLOCK_BOOTTIME), and stands for "not confirmed yet". A process of a session of its own waits for
 * it, so that whatever becomes of the connection of the one who asked does not matter. If that
 * process is killed, the next mplex-run that opens the state takes the generation back.
 */
#ifndef MPLEX_RUN_CONFIRM_H
#define MPLEX_RUN_CONFIRM_H

#include <stdbool.h>
#include <stddef.h>

struct generation;
struct state;

/*
 * Puts a generation, which does not run yet, on probation. Returns 0 or -errno with a sentence. May
 * be called once in a process.
 */
int confirm_start(const struct state *state, const struct generation *generation, unsigned seconds,
		  char *error, size_t n);

/* Whether a generation is on probation; and whether its time is over. */
bool confirm_waits(const struct generation *generation);
bool confirm_is_late(const struct generation *generation);

/* Ends the probation. Returns whether there was one. */
bool confirm_end(const struct generation *generation);

#endif
