/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Perfect hashing of a fixed set of tags: which slot of a table is whose.
 *
 * A BPF program that looks a tag up in such a table needs no loop: it computes the one slot where
 * the tag can be, and compares. Two forms, both multiply-shift arithmetic of few instructions:
 *
 * One probe, for small sets: multipliers are drawn until one spreads all keys over a table of at
 * most four times their number. The draws needed grow as e^(n²/2m), so only small sets can have it.
 *
 * Hash and displace (Pagh 1999), for any size: the hash sorts the keys into buckets of a few keys
 * each, and gives each key a place relative to its bucket. The fullest bucket is placed first; each
 * gets the first displacement that moves all its keys to free slots. The last ones are alone in
 * their buckets and can go wherever a slot is left, so that a table can be full to the last slot.
 * Two keys of one bucket with one relative place are never parted; then other multipliers are
 * drawn.
 *
 * Tables are powers of two because a mask costs two instructions less than scaling to any other
 * size does, and needs no check of the bound, which was measured to be worth more than the slots
 * that it wastes.
 *
 * Nothing here is random: multipliers come from a fixed sequence, so equal sets get equal tables.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "perfect_hash.h"

enum {
	ONE_PROBE_MAX = 64, /* keys */
	ONE_PROBE_TRIES = 1 << 16,
	ONE_PROBE_SPARE = 2, /* table sizes: the next power of two, twice and four times it */
	DRAWS_MAX = 64,	     /* for each number of buckets, */
	PLACINGS_MAX = 3,    /* of which so many have no clash and are tried */
	PLACING_WORK = 32,   /* with so many displacements per key */
	DISPLACE_SPARE = 1,  /* table sizes: the next power of two, and twice it */
	BUCKETS_LESS = 2, /* first a quarter as many buckets as slots, then a half, then as many */
};

/* The form of a table, and scratch of its construction. */
struct builder {
	struct perfect_hash *hash;
	const uint64_t *keys;
	size_t count;
	uint64_t *hashes;	 /* by key */
	uint32_t *bucket_starts; /* bucket → its first in bucket_keys; one more than buckets */
	uint32_t *bucket_keys;	 /* key numbers, by bucket */
	uint32_t *order;	 /* buckets that are not empty, the fullest first */
	uint32_t order_count;
};

static void free_pointer(void *pointer)
{
	free(*(void **)pointer);
}

#define CLEANUP_FREE __attribute__((cleanup(free_pointer)))

/* Steele, Lea and Flood's SplitMix64: a fixed sequence that looks random. */
static uint64_t next_number(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void draw_multipliers(struct perfect_hash *hash, uint64_t *state)
{
	for (unsigned word = 0; word < hash->words; word++)
		hash->multipliers[word] = next_number(state) | 1;
}

static uint64_t hash_key(const struct perfect_hash *hash, const uint64_t *key)
{
	uint64_t sum = 0;

	for (unsigned word = 0; word < hash->words; word++)
		sum += (hash->folded ? key[word] ^ key[word] >> 32 : key[word]) *
		       hash->multipliers[word];
	return sum;
}

static uint32_t displaced_slot(const struct perfect_hash *hash, uint64_t sum, uint32_t displacement)
{
	return ((sum >> hash->slot_shift) + displacement) & (hash->size - 1);
}

uint32_t perfect_hash_slot(const struct perfect_hash *hash, const uint64_t *key)
{
	uint64_t sum = hash_key(hash, key);

	if (!hash->displacements)
		return sum >> hash->slot_shift;
	return displaced_slot(hash, sum, hash->displacements[sum >> hash->bucket_shift]);
}

void perfect_hash_free(struct perfect_hash *hash)
{
	free(hash->displacements);
	free(hash->keys);
	hash->displacements = NULL;
	hash->keys = NULL;
}

/* The least number of bits that can tell count things apart, at least 1. */
static unsigned bits_for(size_t count)
{
	unsigned bits = 1;

	while ((size_t)1 << bits < count)
		bits++;
	return bits;
}

static void clear_slots(struct perfect_hash *hash)
{
	for (uint32_t slot = 0; slot < hash->size; slot++)
		hash->keys[slot] = PERFECT_HASH_EMPTY;
}

/* Whether it is likely that one of the tries fits so many keys into so many slots. */
static bool one_probe_likely(size_t count, uint32_t size)
{
	double chance = 1;

	for (size_t key = 0; key < count; key++)
		chance *= 1 - (double)key / size;
	return chance * ONE_PROBE_TRIES > 8;
}

/* Whether the multipliers drawn give every key a slot of its own. */
static bool one_probe_fits(struct perfect_hash *hash, const uint64_t *keys, size_t count)
{
	clear_slots(hash);
	for (size_t key = 0; key < count; key++) {
		uint64_t sum = hash_key(hash, keys + key * hash->words);
		uint32_t *slot = &hash->keys[sum >> hash->slot_shift];

		if (*slot != PERFECT_HASH_EMPTY)
			return false;
		*slot = key;
	}
	return true;
}

static int make_one_probe(const uint64_t *keys, unsigned words, size_t count,
			  struct perfect_hash *hash)
{
	unsigned bits = bits_for(count);
	size_t slots_max = (size_t)1 << (bits + ONE_PROBE_SPARE);
	CLEANUP_FREE uint32_t *slots = calloc(slots_max, sizeof(*slots));
	struct perfect_hash made = {.words = words, .keys = slots};
	uint64_t state = 0;

	if (!slots)
		return -ENOMEM;
	for (unsigned spare = 0; spare <= ONE_PROBE_SPARE; spare++) {
		made.slot_shift = 64 - bits - spare;
		made.size = UINT32_C(1) << (bits + spare);
		if (!one_probe_likely(count, made.size))
			continue;
		for (unsigned try = 0; try < ONE_PROBE_TRIES; try++) {
			draw_multipliers(&made, &state);
			if (one_probe_fits(&made, keys, count)) {
				slots = NULL;
				*hash = made;
				return 0;
			}
		}
	}
	return -ENOSPC;
}

static uint32_t bucket_size(const struct builder *b, uint32_t bucket)
{
	return b->bucket_starts[bucket + 1] - b->bucket_starts[bucket];
}

/* Sorts the keys into buckets, and the buckets by how full they are. */
static void fill_buckets(struct builder *b)
{
	const struct perfect_hash *hash = b->hash;
	uint32_t fullest = 0;

	memset(b->bucket_starts, 0, (hash->bucket_count + 1) * sizeof(*b->bucket_starts));
	for (size_t key = 0; key < b->count; key++) {
		b->hashes[key] = hash_key(hash, b->keys + key * hash->words);
		b->bucket_starts[b->hashes[key] >> hash->bucket_shift]++;
	}
	/* First each start is the bucket's end, then every key moves it down by one. */
	for (uint32_t bucket = 0; bucket < hash->bucket_count; bucket++) {
		uint32_t size = b->bucket_starts[bucket];

		fullest = size > fullest ? size : fullest;
		if (bucket)
			b->bucket_starts[bucket] += b->bucket_starts[bucket - 1];
	}
	for (size_t key = b->count; key-- > 0;)
		b->bucket_keys[--b->bucket_starts[b->hashes[key] >> hash->bucket_shift]] = key;
	b->bucket_starts[hash->bucket_count] = b->count;

	b->order_count = 0;
	for (uint32_t size = fullest; size > 0; size--)
		for (uint32_t bucket = 0; bucket < hash->bucket_count; bucket++)
			if (bucket_size(b, bucket) == size)
				b->order[b->order_count++] = bucket;
}

/* Whether no displacement can ever part two keys of the bucket. */
static bool bucket_clashes(const struct builder *b, uint32_t bucket)
{
	for (uint32_t at = b->bucket_starts[bucket]; at < b->bucket_starts[bucket + 1]; at++)
		for (uint32_t other = b->bucket_starts[bucket]; other < at; other++)
			if (displaced_slot(b->hash, b->hashes[b->bucket_keys[at]], 0) ==
			    displaced_slot(b->hash, b->hashes[b->bucket_keys[other]], 0))
				return true;
	return false;
}

static uint32_t bucket_key_slot(const struct builder *b, uint32_t at, uint32_t displacement)
{
	return displaced_slot(b->hash, b->hashes[b->bucket_keys[at]], displacement);
}

static void take_slots(struct builder *b, uint32_t bucket, uint32_t displacement)
{
	b->hash->displacements[bucket] = displacement;
	for (uint32_t at = b->bucket_starts[bucket]; at < b->bucket_starts[bucket + 1]; at++)
		b->hash->keys[bucket_key_slot(b, at, displacement)] = b->bucket_keys[at];
}

/* Moves a bucket until all its keys fall into free slots. */
static bool place_bucket(struct builder *b, uint32_t bucket, size_t *work)
{
	uint32_t first = b->bucket_starts[bucket], end = b->bucket_starts[bucket + 1];

	for (uint32_t displacement = 0; displacement < b->hash->size; displacement++) {
		uint32_t at = first;

		if ((*work)-- == 0)
			return false;
		while (at < end &&
		       b->hash->keys[bucket_key_slot(b, at, displacement)] == PERFECT_HASH_EMPTY)
			at++;
		if (at == end) {
			take_slots(b, bucket, displacement);
			return true;
		}
	}
	return false;
}

/* Whether the hash drawn can work at all. */
static bool some_bucket_clashes(const struct builder *b)
{
	for (uint32_t at = 0; at < b->order_count && bucket_size(b, b->order[at]) > 1; at++)
		if (bucket_clashes(b, b->order[at]))
			return true;
	return false;
}

static bool place_all(struct builder *b)
{
	size_t work = PLACING_WORK * b->count;
	uint32_t at, slot = 0;

	clear_slots(b->hash);
	memset(b->hash->displacements, 0, b->hash->bucket_count * sizeof(*b->hash->displacements));
	for (at = 0; at < b->order_count && bucket_size(b, b->order[at]) > 1; at++)
		if (!place_bucket(b, b->order[at], &work))
			return false;
	/* A key alone in its bucket can go to any slot that is left. */
	for (; at < b->order_count; at++) {
		uint32_t place = bucket_key_slot(b, b->bucket_starts[b->order[at]], 0);

		while (b->hash->keys[slot] != PERFECT_HASH_EMPTY)
			slot++;
		take_slots(b, b->order[at], (slot - place) & (b->hash->size - 1));
	}
	return true;
}

/* Tries one table size with one number of buckets. 0, -ENOMEM, or -ENOSPC. */
static int try_displaced(const uint64_t *keys, unsigned words, size_t count, unsigned slot_bits,
			 unsigned bucket_bits, bool folded, struct perfect_hash *hash)
{
	uint32_t size = UINT32_C(1) << slot_bits, buckets = UINT32_C(1) << bucket_bits;
	CLEANUP_FREE uint32_t *slots = calloc(size, sizeof(*slots));
	CLEANUP_FREE uint32_t *displacements = calloc(buckets, sizeof(*displacements));
	CLEANUP_FREE uint64_t *hashes = calloc(count, sizeof(*hashes));
	CLEANUP_FREE uint32_t *bucket_starts = calloc(buckets + 1, sizeof(*bucket_starts));
	CLEANUP_FREE uint32_t *bucket_keys = calloc(count, sizeof(*bucket_keys));
	CLEANUP_FREE uint32_t *order = calloc(buckets, sizeof(*order));
	struct perfect_hash made = {
		.words = words,
		.folded = folded,
		.slot_shift = 64 - bucket_bits - slot_bits,
		.bucket_shift = 64 - bucket_bits,
		.size = size,
		.bucket_count = buckets,
		.displacements = displacements,
		.keys = slots,
	};
	struct builder b = {
		.hash = &made,
		.keys = keys,
		.count = count,
		.hashes = hashes,
		.bucket_starts = bucket_starts,
		.bucket_keys = bucket_keys,
		.order = order,
	};
	uint64_t state = 0;

	if (!slots || !displacements || !hashes || !bucket_starts || !bucket_keys || !order)
		return -ENOMEM;
	for (unsigned draws = 0, placings = 0; draws < DRAWS_MAX && placings < PLACINGS_MAX;
	     draws++) {
		draw_multipliers(&made, &state);
		fill_buckets(&b);
		if (some_bucket_clashes(&b))
			continue;
		placings++;
		if (place_all(&b)) {
			slots = NULL;
			displacements = NULL;
			*hash = made;
			return 0;
		}
	}
	return -ENOSPC;
}

/* The smallest table, for it the least work, and for that the fewest buckets. */
static int make_displaced(const uint64_t *keys, unsigned words, size_t count,
			  struct perfect_hash *hash)
{
	unsigned slot_bits = bits_for(count);
	int error = -ENOSPC;

	for (unsigned form = 0; form < 2 * (DISPLACE_SPARE + 1); form++)
		for (unsigned less = BUCKETS_LESS + 1; less-- > 0 && error == -ENOSPC;)
			error = try_displaced(keys, words, count, slot_bits + form / 2,
					      slot_bits > less ? slot_bits - less : 1, form % 2,
					      hash);
	return error;
}

int perfect_hash_make(const uint64_t *keys, unsigned words, size_t count, struct perfect_hash *hash)
{
	int error = -ENOSPC;

	if (count <= ONE_PROBE_MAX)
		error = make_one_probe(keys, words, count, hash);
	if (error == -ENOSPC)
		error = make_displaced(keys, words, count, hash);
	return error;
}
