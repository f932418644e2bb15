/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_ARENA_H
#define MPLEX_ARENA_H

#include <stddef.h>

/*
 * Memory that is freed all at once: a tree of nodes or the rules made of it live and die together.
 */
struct arena;

/* Returns an empty arena, or NULL when there is no memory. */
struct arena *arena_new(void);

/*
 * Returns `size` zeroed bytes, aligned for any type, or NULL when there is no memory. Never NULL
 * for a size of 0.
 */
void *arena_alloc(struct arena *arena, size_t size);

/* As arena_alloc, for an array of `count` elements; NULL also when the product overflows. */
void *arena_array(struct arena *arena, size_t count, size_t size);

/* Returns a copy of `length` bytes with a NUL behind them, or NULL when there is no memory. */
char *arena_copy(struct arena *arena, const char *text, size_t length);

/* Frees the arena and all that came from it; harmless on NULL. */
void arena_free(struct arena *arena);

#endif
