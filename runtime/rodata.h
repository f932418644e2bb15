/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a loaded program's constants (docs/object.md) are, found by their names.
 */
#ifndef MPLEX_RUN_RODATA_H
#define MPLEX_RUN_RODATA_H

#include <stdbool.h>
#include <stddef.h>

struct btf;
struct constant;
struct generation;

struct rodata {
	struct btf *btf;
	char *value;
	size_t size;
};

/* Reads all of a generation. Returns 0 or -errno, and then *out is untouched. */
int rodata_read(const struct generation *generation, struct rodata *out);

void rodata_free(struct rodata *rodata);

/* Whether the program compares destinations with the host's own addresses. */
bool rodata_has_addresses(const struct rodata *rodata);

/* Whether the program uses a constant, and has it otherwise than it would be set now. */
bool rodata_differs(const struct rodata *rodata, const struct constant *now);

/* A constant of at least size bytes, or NULL where the program does not use it. */
const void *rodata_find(const struct rodata *rodata, const char *name, size_t size);

#endif
