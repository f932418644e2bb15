/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_PERFECT_HASH_H
#define MPLEX_PERFECT_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PERFECT_HASH_WORDS = 4,	      /* of a key, at most */
	PERFECT_HASH_EMPTY = 1 << 30, /* no key has this number */
};

/*
 * A function that gives each key of a fixed set a slot of its own, 0..size-1, where size is a power
 * of two. In C:
 *
 *	hash = key[0] * multipliers[0] + key[1] * multipliers[1] + ...;
 *
 * and then, without displacements, one probe:
 *
 *	slot = hash >> slot_shift;
 *
 * or, with displacements:
 *
 *	slot = ((hash >> slot_shift) + displacements[hash >> bucket_shift]) & (size - 1);
 *
 * If folded, each word of the key is replaced by word ^ word >> 32 before all that.
 *
 * A key outside of the set gets a slot, too, so whoever looks up compares with the key there.
 */
struct perfect_hash {
	uint64_t multipliers[PERFECT_HASH_WORDS];
	unsigned words; /* of a key */
	bool folded;
	unsigned slot_shift, bucket_shift; /* 1..63 */
	uint32_t size;			   /* slots */
	uint32_t bucket_count;		   /* of displacements; 0: one probe */
	uint32_t *displacements;	   /* below size; NULL: one probe */
	uint32_t *keys;			   /* slot → number of its key, or PERFECT_HASH_EMPTY */
};

/*
 * Finds a perfect hash for count different keys (1..2^20) of so many words (1..4), which stand one
 * after the other in keys. The same keys in the same order give the same function. Returns 0,
 * -ENOMEM, or -ENOSPC if none was found: two keys are equal. On failure *hash is untouched. Free
 * with perfect_hash_free.
 */
int perfect_hash_make(const uint64_t *keys, unsigned words, size_t count,
		      struct perfect_hash *hash);

/* Frees what perfect_hash_make made; harmless on a zeroed struct. */
void perfect_hash_free(struct perfect_hash *hash);

/* The slot of a key, or that at which a key of the set might have been mistaken for it. */
uint32_t perfect_hash_slot(const struct perfect_hash *hash, const uint64_t *key);

#endif
