/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_PATTERN_H
#define MPLEX_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#include "rules.h"

enum {
	PROBLEM_MAX = 200, /* bytes of a sentence about a tag */
};

/* How the tags of one pattern lie to those of another. */
enum relation {
	RELATION_DISJOINT,
	RELATION_EQUAL,	  /* the same tags */
	RELATION_INSIDE,  /* all of the first are the second's, too */
	RELATION_AROUND,  /* all of the second are the first's, too */
	RELATION_OVERLAP, /* some, and each has others */
};

/*
 * The bytes of the tags that a route stands for, by its text alone, or 0 where that cannot be told
 * (a uint, or something wrong).
 */
uint32_t pattern_length(enum tag_type type, const char *text, size_t length);

/*
 * Reads the tags of a route as the listener's tag type, order and length have them. Returns 0, or
 * -EMSGSIZE for the wrong number of bytes or else -EINVAL, with a sentence in *problem that says
 * what is wrong and what would be right; then *pattern is untouched.
 */
int pattern_read(const struct listener *listener, const char *text, size_t length,
		 struct pattern *pattern, char problem[PROBLEM_MAX]);

/* Compares two patterns of a listener. */
enum relation pattern_relation(const struct listener *listener, const struct pattern *first,
			       const struct pattern *second);

/*
 * The smallest and the largest tag of a pattern, most significant byte first: tag.length bytes
 * each. Two patterns whose spans are disjoint are disjoint.
 */
void pattern_span(const struct listener *listener, const struct pattern *pattern,
		  uint8_t low[TAG_MAX], uint8_t high[TAG_MAX]);

/*
 * Reads `length` hex digits, two a byte. Returns the number of bytes, or 0 where it is no such
 * thing or more than `size` bytes.
 */
size_t hex_read(const char *text, size_t length, uint8_t *bytes, size_t size);

/*
 * Reads a number of digits only; leading zeros mean nothing (013 is thirteen). Returns 0, -EINVAL
 * where it is none, or -ERANGE above `max`; on failure *number is untouched.
 */
int decimal_read(const char *text, size_t length, uint64_t max, uint64_t *number);

/* The same, also for hex digits behind 0x. */
int number_read(const char *text, size_t length, uint64_t max, uint64_t *number);

/* Writes a number as the listener's uint tags have it, tag.length bytes. */
void number_bytes(const struct listener *listener, uint64_t number, uint8_t *bytes);

#endif
