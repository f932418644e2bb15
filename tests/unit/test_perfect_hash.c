/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Perfect hashes of many key sets: of every small size, of sizes round the powers of two, and of
 * shapes that multiplication is bad at (sequences, keys that differ in a few bits only).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "../../compiler/perfect_hash.h"

enum {
	KEYS_MAX = 65536,
};

/* Key number i of a set. All keys of a shape differ. */
static uint64_t sequential(uint64_t i)
{
	return i;
}

static uint64_t from_the_top(uint64_t i)
{
	return i << 48 | 0x3030;
}

static uint64_t in_the_middle(uint64_t i)
{
	return 0xffff000000000000 | i << 20;
}

/* The decimal digits of i, as text. */
static uint64_t digits(uint64_t i)
{
	uint64_t text = 0;

	for (unsigned at = 0; at < 8; at++, i /= 10)
		text |= (uint64_t)('0' + i % 10) << 8 * at;
	return text;
}

static uint64_t scattered(uint64_t i)
{
	return (i + 1) * 0xd1342543de82ef95;
}

static uint64_t (*const shapes[])(uint64_t) = {
	sequential, from_the_top, in_the_middle, digits, scattered,
};

enum {
	SHAPES = sizeof(shapes) / sizeof(*shapes),
};

/* All that a perfect hash promises. */
static void check(const uint64_t *keys, unsigned words, size_t count)
{
	struct perfect_hash hash = {0}, again = {0};
	size_t filled = 0;

	assert_int_equal(perfect_hash_make(keys, words, count, &hash), 0);
	assert_int_equal(hash.words, words);
	assert_true(hash.size >= count);
	assert_int_equal(hash.size & (hash.size - 1), 0);
	/* A table that is mostly empty is a waste of cache; small ones are small anyway. */
	if (count > 64)
		assert_true(hash.size < 2 * count);
	else
		assert_true(hash.size <= 8 * count);
	for (size_t i = 0; i < count; i++) {
		uint32_t slot = perfect_hash_slot(&hash, keys + i * words);

		assert_true(slot < hash.size);
		assert_int_equal(hash.keys[slot], i);
	}
	for (uint32_t slot = 0; slot < hash.size; slot++)
		filled += hash.keys[slot] != PERFECT_HASH_EMPTY;
	assert_int_equal(filled, count);
	for (uint32_t bucket = 0; bucket < hash.bucket_count; bucket++)
		assert_true(hash.displacements[bucket] < hash.size);

	assert_int_equal(perfect_hash_make(keys, words, count, &again), 0);
	assert_memory_equal(again.multipliers, hash.multipliers, sizeof(hash.multipliers));
	assert_int_equal(again.size, hash.size);
	assert_memory_equal(again.keys, hash.keys, hash.size * sizeof(*hash.keys));
	perfect_hash_free(&hash);
	perfect_hash_free(&again);
}

static void check_shapes(size_t count)
{
	uint64_t *keys = calloc(count, sizeof(*keys));

	assert_non_null(keys);
	for (unsigned shape = 0; shape < SHAPES; shape++) {
		for (size_t i = 0; i < count; i++)
			keys[i] = shapes[shape](i);
		check(keys, 1, count);
	}
	free(keys);
}

static void test_small(void **state)
{
	(void)state;
	for (size_t count = 1; count <= 200; count++)
		check_shapes(count);
}

static void test_round_powers_of_two(void **state)
{
	(void)state;
	for (size_t count = 256; count <= 16384; count *= 2) {
		check_shapes(count - 1);
		check_shapes(count);
		check_shapes(count + 1);
	}
}

static void test_large(void **state)
{
	static const size_t counts[] = {50000, 65535, 65536};

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
		check_shapes(counts[i]);
}

/* Keys of several words that differ in one of them. */
static void test_words(void **state)
{
	static const size_t counts[] = {1, 2, 3, 50, 1000, 65535};
	uint64_t *keys = calloc(KEYS_MAX * PERFECT_HASH_WORDS, sizeof(*keys));

	(void)state;
	assert_non_null(keys);
	for (unsigned words = 1; words <= PERFECT_HASH_WORDS; words++)
		for (unsigned differs = 0; differs < words; differs++)
			for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
				for (size_t i = 0; i < counts[c]; i++)
					for (unsigned word = 0; word < words; word++)
						keys[i * words + word] =
							word == differs ? digits(i)
									: 0x3030303030303030;
				check(keys, words, counts[c]);
			}
	free(keys);
}

/* A key outside of the set has a slot inside of the table. */
static void test_others(void **state)
{
	uint64_t *keys = calloc(KEYS_MAX, sizeof(*keys));

	(void)state;
	assert_non_null(keys);
	for (size_t count = 1; count <= KEYS_MAX; count = count * 3 + 1) {
		struct perfect_hash hash = {0};

		for (size_t i = 0; i < count; i++)
			keys[i] = digits(i);
		assert_int_equal(perfect_hash_make(keys, 1, count, &hash), 0);
		for (uint64_t i = 0; i < 10000; i++) {
			uint64_t key = scattered(i);

			assert_true(perfect_hash_slot(&hash, &key) < hash.size);
		}
		perfect_hash_free(&hash);
	}
	free(keys);
}

/* Equal keys cannot be parted, and nothing is touched then. */
static void test_equal_keys(void **state)
{
	static const size_t counts[] = {2, 64, 65, 1000};
	uint64_t keys[1000];

	(void)state;
	for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
		struct perfect_hash hash = {.size = 77};

		for (size_t i = 0; i < counts[c]; i++)
			keys[i] = digits(i);
		keys[counts[c] - 1] = keys[0];
		assert_int_equal(perfect_hash_make(keys, 1, counts[c], &hash), -ENOSPC);
		assert_int_equal(hash.size, 77);
		assert_null(hash.keys);
		assert_null(hash.displacements);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small),  cmocka_unit_test(test_round_powers_of_two),
		cmocka_unit_test(test_large),  cmocka_unit_test(test_words),
		cmocka_unit_test(test_others), cmocka_unit_test(test_equal_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
