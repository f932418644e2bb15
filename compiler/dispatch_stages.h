/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What dispatch.c decides and dispatch_emit.c writes; nobody else's.
 */
#ifndef MPLEX_DISPATCH_STAGES_H
#define MPLEX_DISPATCH_STAGES_H

#include <stddef.h>
#include <stdint.h>

#include "dispatch.h"
#include "perfect_hash.h"

enum {
	TAG_WORDS = (TAG_MAX + 7) / 8,
};

/* No route: what an interval between two ranges leads to. */
static const uint32_t NO_ROUTE = UINT32_MAX;

/*
 * A tag, as the emitted code has it in registers: words of eight bytes, the last one of what
 * remains, each a number whose most significant byte is the first on the wire. A little-endian
 * uint is one word, its value. So words compare like the tags of a range do.
 */
struct words {
	uint64_t at[TAG_WORDS];
};

/* One step of a lookup. */
struct stage {
	enum stage_kind {
		STAGE_COMPARE, /* with one pattern after the other */
		STAGE_HASH,    /* one probe of a table; patterns of one mask */
		STAGE_SEARCH,  /* a binary search in a table; ranges */
	} kind;
	bool ranges; /* patterns are ranges; else they have the mask in common */
	struct words mask;
	uint32_t *routes; /* numbers of the listener's routes, the innermost first */
	size_t route_count;

	struct perfect_hash hash; /* STAGE_HASH; its key numbers index routes */

	/* STAGE_SEARCH */
	struct words *starts; /* of the intervals, ascending; the first is 0 */
	uint32_t *winners;    /* by interval: a route's number or NO_ROUTE */
	size_t interval_count;
};

struct dispatch {
	const struct listener *listener;
	unsigned word_count;
	struct words full; /* every bit that a tag has */
	/* The first stage that knows the tag decides, so they stand from the innermost outwards. */
	struct stage *stages;
	size_t stage_count;
};

/* The words of tag.length bytes in wire order. */
struct words dispatch_words(const struct listener *listener, const uint8_t *bytes);

/* Bytes of the tag in a word. */
unsigned dispatch_word_bytes(const struct listener *listener, unsigned word);

/* Steps of a STAGE_SEARCH: its table has 2 to the power of that many entries. */
unsigned dispatch_search_steps(const struct stage *stage);

/* Whether a STAGE_HASH keeps tags and ports in arrays of their own. */
bool dispatch_is_split(const struct dispatch *dispatch, const struct stage *stage);

/* What a stage's tables take, without the numbers of routes where these are counted. */
size_t dispatch_table_bytes(const struct dispatch *dispatch, const struct stage *stage);

/*
 * Those words of a STAGE_HASH's key in which the mask has a bit, in their order, taken from words.
 * Returns how many.
 */
unsigned dispatch_key(const struct stage *stage, const struct words *words,
		      uint64_t key[TAG_WORDS]);

#endif
