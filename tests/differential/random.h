/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Random numbers that a printed seed brings back: SplitMix64 (Steele, Lea and Flood, 2014). One
 * stream of them decides a rule file and all frames sent against it.
 */
#ifndef MPLEX_TESTS_RANDOM_H
#define MPLEX_TESTS_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct random {
	uint64_t state;
};

static inline uint64_t random_u64(struct random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* 0..limit-1 */
static inline uint64_t random_below(struct random *random, uint64_t limit)
{
	return random_u64(random) % limit;
}

/* Both ends included. */
static inline uint64_t random_between(struct random *random, uint64_t first, uint64_t last)
{
	return first + random_below(random, last - first + 1);
}

static inline bool random_chance(struct random *random, unsigned percent)
{
	return random_below(random, 100) < percent;
}

static inline void random_fill(struct random *random, void *bytes, size_t length)
{
	uint8_t *at = bytes;

	for (size_t i = 0; i < length; i++)
		at[i] = (uint8_t)random_u64(random);
}

/* One element of an array. */
#define RANDOM_OF(random, array) \
	((array)[random_below((random), sizeof(array) / sizeof((array)[0]))])

#endif
