/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_ERROR_H
#define MPLEX_RUN_ERROR_H

#include <stddef.h>

/* Room for the longest sentence, and for the last lines of a verifier's log behind it. */
enum {
	ERROR_SIZE = 4096
};

/*
 * Writes one sentence (what failed, why, what to do; no full stop, no newline) to error, cut to its
 * size, and returns -code, so that a function can end with `return failed(...)`. code is positive,
 * of errno's.
 */
int failed(char *error, size_t size, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
