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
	TAG_WORDS = (TAG_MAX + 7) / 8
};

/*
 * A tag, as the emitted code has it in registers: words of eight bytes, the last one of what
 * remains, each a number whose most significant byte is the first on the wire. A little-endian
 * uint is one word, its value.
 */
struct words {
	uint64_t at[TAG_WORDS];
};

/* One step of a lookup. A route found ends it; the steps stand from the innermost outwards. */
struct stage {
	enum stage_kind {
		STAGE_COMPARE, /* with the patterns one after the other */
		STAGE_HASH,    /* one probe of a table, for patterns of one mask */
	} kind;
	uint32_t *routes; /* numbers of the listener's routes, in the order of comparison */
	size_t route_count;

	/* STAGE_HASH */
	struct words mask;
	struct perfect_hash hash; /* its key numbers index routes */
};

struct dispatch {
	const struct listener *listener;
	unsigned word_count;
	struct words full; /* every bit that a tag has */
	struct stage *stages;
	size_t stage_count;
};

/* The words of tag.length bytes in wire order. */
struct words dispatch_words(const struct listener *listener, const uint8_t *bytes);

/* Bytes of the tag in a word. */
unsigned dispatch_word_bytes(const struct listener *listener, unsigned word);

#endif
