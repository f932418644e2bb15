/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Perfect hashing of a fixed set of tags: which slot of a table is whose.
 *
 * A BPF program that looks a tag up in such a table needs no loop: it computes the one slot where
 * the tag can be, and compares. Two forms, both plain multiply-shift arithmetic:
 *
 * One probe, for small sets: multipliers are drawn until one spreads all keys over a table of at
 * most four times their number. Its price grows as e^(n²/2m), so only small sets can have it.
 *
 * Hash and displace, for any size (Belazzougui, Botelho, Dietzfelbinger 2009; the way of going on
 * is Pagh's): the hash sorts the keys into buckets of about four. The fullest bucket is placed
 * first. Each bucket gets the first displacement that moves all its keys to free slots; the last
 * ones are alone in their buckets and have thousands of displacements to find one of the few free
 * slots with. The table can so be 97 % full, which matters because it ought to stay in the cache.
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
	ONE_PROBE_SPARE =
		2, /* table sizes to try: the next power of two, twice and four times it */
	BUCKET_MEAN_MAX = 5, /* keys */
	LOAD_PERCENT = 97,
	DISPLACEMENTS = 1 << 16, /* what a __u16 can say */
	DISPLACE_TRIES = 64, /* equal hashes in a bucket are the only known cause of a second one */
};

/* Scratch of one construction. */
struct builder {
	const uint64_t *keys;
	size_t count;
	uint64_t *hashes;	 /* by key, folded */
	uint32_t *bucket_starts; /* bucket → its first in bucket_keys; one more than buckets */
	uint32_t *bucket_keys;	 /* key numbers, by bucket */
	uint32_t *order;	 /* buckets, the fullest first */
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
		sum += key[word] * hash->multipliers[word];
	return sum;
}

static uint64_t fold(uint64_t sum)
{
	return sum ^ sum >> 32;
}

static uint32_t displaced_slot(const struct perfect_hash *hash, uint64_t folded,
			       uint16_t displacement)
{
	return ((folded ^ displacement) * hash->multipliers[0] >> 32) * hash->size >> 32;
}

uint32_t perfect_hash_slot(const struct perfect_hash *hash, const uint64_t *key)
{
	uint64_t sum = hash_key(hash, key), folded = fold(sum);

	if (!hash->displacements)
		return sum >> hash->shift;
	return displaced_slot(hash, folded, hash->displacements[folded >> hash->shift]);
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

/* Whether the multipliers drawn give every key a slot of its own. */
static bool one_probe_fits(struct perfect_hash *hash, const uint64_t *keys, size_t count)
{
	clear_slots(hash);
	for (size_t key = 0; key < count; key++) {
		uint32_t *slot =
			&hash->keys[hash_key(hash, keys + key * hash->words) >> hash->shift];

		if (*slot != PERFECT_HASH_EMPTY)
			return false;
		*slot = key;
	}
	return true;
}

/* Whether it is likely that one of the tries fits so many keys into so many slots. */
static bool one_probe_likely(size_t count, uint32_t size)
{
	double chance = 1;

	for (size_t key = 0; key < count; key++)
		chance *= 1 - (double)key / size;
	return chance * ONE_PROBE_TRIES > 8;
}

/* 0, -ENOMEM, or -ENOSPC if no table of a reasonable size was found. */
static int make_one_probe(const uint64_t *keys, unsigned words, size_t count,
			  struct perfect_hash *hash)
{
	unsigned bits = bits_for(count);
	CLEANUP_FREE uint32_t *slots =
		calloc((size_t)1 << (bits + ONE_PROBE_SPARE), sizeof(*slots));
	struct perfect_hash made = {.words = words, .keys = slots};
	uint64_t state = 0;

	if (!slots)
		return -ENOMEM;
	for (unsigned spare = 0; spare <= ONE_PROBE_SPARE; spare++) {
		made.shift = 64 - bits - spare;
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

/* Sorts the keys into buckets, and the buckets by how full they are. */
static void fill_buckets(const struct perfect_hash *hash, struct builder *b)
{
	uint32_t fullest = 0, place = 0;

	memset(b->bucket_starts, 0, (hash->bucket_count + 1) * sizeof(*b->bucket_starts));
	for (size_t key = 0; key < b->count; key++) {
		b->hashes[key] = fold(hash_key(hash, b->keys + key * hash->words));
		b->bucket_starts[(b->hashes[key] >> hash->shift) + 1]++;
	}
	for (uint32_t bucket = 0; bucket < hash->bucket_count; bucket++) {
		uint32_t size = b->bucket_starts[bucket + 1];

		fullest = size > fullest ? size : fullest;
		b->bucket_starts[bucket + 1] += b->bucket_starts[bucket];
	}
	/* Backwards, each key before those that follow it; the starts move and come to rest. */
	for (size_t key = b->count; key-- > 0;)
		b->bucket_keys[--b->bucket_starts[(b->hashes[key] >> hash->shift) + 1]] = key;
	memmove(b->bucket_starts, b->bucket_starts + 1,
		hash->bucket_count * sizeof(*b->bucket_starts));
	b->bucket_starts[hash->bucket_count] = b->count;

	for (uint32_t size = fullest; size > 0; size--)
		for (uint32_t bucket = 0; bucket < hash->bucket_count; bucket++)
			if (b->bucket_starts[bucket + 1] - b->bucket_starts[bucket] == size)
				b->order[place++] = bucket;
	while (place < hash->bucket_count)
		b->order[place++] = PERFECT_HASH_EMPTY;
}

/* Puts a bucket's keys into slots if they are all free; else takes none. */
static bool place_bucket(struct perfect_hash *hash, const struct builder *b, uint32_t bucket,
			 uint16_t displacement)
{
	uint32_t first = b->bucket_starts[bucket], end = b->bucket_starts[bucket + 1];

	for (uint32_t at = first; at < end; at++) {
		uint32_t key = b->bucket_keys[at];
		uint32_t slot = displaced_slot(hash, b->hashes[key], displacement);

		if (hash->keys[slot] == PERFECT_HASH_EMPTY) {
			hash->keys[slot] = key;
			continue;
		}
		while (at-- > first) {
			key = b->bucket_keys[at];
			hash->keys[displaced_slot(hash, b->hashes[key], displacement)] =
				PERFECT_HASH_EMPTY;
		}
		return false;
	}
	hash->displacements[bucket] = displacement;
	return true;
}

static bool place_all(struct perfect_hash *hash, const struct builder *b)
{
	clear_slots(hash);
	memset(hash->displacements, 0, hash->bucket_count * sizeof(*hash->displacements));
	for (uint32_t at = 0; at < hash->bucket_count; at++) {
		uint32_t displacement = 0;

		if (b->order[at] == PERFECT_HASH_EMPTY)
			break;
		while (!place_bucket(hash, b, b->order[at], displacement))
			if (++displacement == DISPLACEMENTS)
				return false;
	}
	return true;
}

static int make_displaced(const uint64_t *keys, unsigned words, size_t count,
			  struct perfect_hash *hash)
{
	unsigned bits = bits_for((count + BUCKET_MEAN_MAX - 1) / BUCKET_MEAN_MAX);
	uint32_t size = (count * 100 + LOAD_PERCENT - 1) / LOAD_PERCENT;
	uint32_t buckets = UINT32_C(1) << bits;
	CLEANUP_FREE uint32_t *slots = calloc(size, sizeof(*slots));
	CLEANUP_FREE uint16_t *displacements = calloc(buckets, sizeof(*displacements));
	CLEANUP_FREE uint64_t *hashes = calloc(count, sizeof(*hashes));
	CLEANUP_FREE uint32_t *bucket_starts = calloc(buckets + 1, sizeof(*bucket_starts));
	CLEANUP_FREE uint32_t *bucket_keys = calloc(count, sizeof(*bucket_keys));
	CLEANUP_FREE uint32_t *order = calloc(buckets, sizeof(*order));
	struct builder b = {keys, count, hashes, bucket_starts, bucket_keys, order};
	struct perfect_hash made = {
		.words = words,
		.shift = 64 - bits,
		.size = size,
		.bucket_count = buckets,
		.displacements = displacements,
		.keys = slots,
	};
	uint64_t state = 0;

	if (!slots || !displacements || !hashes || !bucket_starts || !bucket_keys || !order)
		return -ENOMEM;
	for (unsigned try = 0; try < DISPLACE_TRIES; try++) {
		draw_multipliers(&made, &state);
		fill_buckets(&made, &b);
		if (place_all(&made, &b)) {
			slots = NULL;
			displacements = NULL;
			*hash = made;
			return 0;
		}
	}
	return -ENOSPC;
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
