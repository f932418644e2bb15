/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_DISPATCH_H
#define MPLEX_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "plan.h"

/*
 * How the tags of one listener are looked up: the code shape, and its tables where it has any.
 */
struct dispatch;

enum {
	/*
	 * More patterns than this cannot be compared one after the other: each is a path of its own
	 * through the rest of the program, and the kernel's verifier walks a million instructions
	 * at most. clang gives up at some 256 or 512.
	 */
	CHAIN_MAX = 128,
	/* Different masks of one listener's patterns: enough for prefixes of every length of a tag.
	 */
	MASKS_MAX = 2 * TAG_MAX + 1,
};

/*
 * Chooses the shape for a listener's routes and builds its tables. Deterministic. Returns 0,
 * -E2BIG when more than CHAIN_MAX patterns would be compared (DISPATCH_CHAIN only), -ERANGE when
 * there are more than MASKS_MAX masks, -ENOMEM, or -ENOSPC when no perfect hash was found (which no
 * known table brings about). On failure *dispatch is untouched. Free with dispatch_free.
 */
int dispatch_make(const struct listener *listener, enum dispatch_choice choice,
		  struct dispatch **dispatch);

void dispatch_free(struct dispatch *dispatch);

/*
 * Whether the look-up can do the same for a tag that has a route and for one that has none: one
 * probe of a table decides, and waiting for what it says costs next to nothing.
 */
bool dispatch_can_be_branch_free(const struct dispatch *dispatch);

/*
 * Writes the tables and this function, straight-line BPF C:
 *
 *	static __always_inline bool route_NAME(const __u8 *tag, struct verdict *verdict)
 *
 * tag points at tag.length readable bytes (packet, unaligned). Where the tag has a route it sets
 * verdict->port (host order) and, if count_routes, verdict->counter to NAME_ROUTES + the route's
 * number, and returns true; else it returns false and leaves *verdict as it was. NAME_ROUTES (name
 * in capitals) is an enum constant, which the caller emits before.
 *
 * If branch_free, which dispatch_can_be_branch_free must allow, it has no branch and needs the part
 * `choose`; true and false are then a __u64 of 1 and 0, of which clang knows nothing.
 */
void dispatch_emit(const struct dispatch *dispatch, bool count_routes, bool branch_free, FILE *out);

/* How much code that function is: its stages, and the patterns that are compared in turn. */
size_t dispatch_stage_count(const struct dispatch *dispatch);
size_t dispatch_compare_count(const struct dispatch *dispatch);

/* For --explain, a few indented lines: each step, why, table bytes, expected cost. */
void dispatch_explain(const struct dispatch *dispatch, FILE *out);

#endif
