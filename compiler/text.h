/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Text that is written to a stream and stays in memory: whole, or not at all.
 *
 * This is what open_memstream is for, but glibc's (seen in 2.36) loses what there was no memory for
 * and sets no error: what follows is written as if nothing had happened.
 */
#ifndef MPLEX_TEXT_H
#define MPLEX_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* Begins as all zeros; bytes are the caller's to free. */
struct text {
	char *bytes; /* from text_close on: with a NUL behind them */
	size_t size; /* without it */
	size_t room;
};

/* A stream that writes to *text, which has to stay in place until text_close. NULL: no memory. */
FILE *text_open(struct text *text);

/* Closes the stream, also NULL. Returns 0, or -ENOMEM if anything is missing; then *text is empty.
 */
int text_close(FILE *stream, struct text *text);

#endif
