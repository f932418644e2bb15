/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_TESTS_FUZZ_H
#define MPLEX_TESTS_FUZZ_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* What a stream in memory became. */
struct text {
	char *bytes;
	size_t size;
};

/* Ends the program, as a crash would, where something does not hold that always has to. */
#define expect(condition)                                                                 \
	do {                                                                              \
		if (!(condition)) {                                                       \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, \
				#condition);                                              \
			abort();                                                          \
		}                                                                         \
	} while (0)

#endif
