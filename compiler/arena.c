/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The arena: chunks from calloc, handed out front to back.
 *
 * A rule file of 65,535 tags makes some 200,000 small objects; one allocation each would cost more
 * time and memory than everything else that reading it does.
 *
 * AddressSanitizer is told what was not handed out, and of a gap behind each object, so that it
 * sees who goes beyond one.
 */
#include "arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature) /* clang's way to say what gcc says */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define GAP 16
#else
#define ASAN_POISON_MEMORY_REGION(address, size)
#define ASAN_UNPOISON_MEMORY_REGION(address, size)
#define GAP 0
#endif

enum {
	CHUNK_SIZE = 64 << 10,
};

struct chunk {
	struct chunk *next;
	size_t size, used; /* of bytes */
	_Alignas(max_align_t) unsigned char bytes[];
};

struct arena {
	struct chunk *chunks; /* the newest first */
};

struct arena *arena_new(void)
{
	return calloc(1, sizeof(struct arena));
}

void *arena_alloc(struct arena *arena, size_t size)
{
	const size_t alignment = _Alignof(max_align_t);
	struct chunk *chunk = arena->chunks;
	size_t taken;
	void *bytes;

	if (size > SIZE_MAX / 2)
		return NULL;
	taken = (size + GAP + alignment - 1) / alignment * alignment;
	if (!chunk || chunk->size - chunk->used < taken) {
		size_t room = taken > CHUNK_SIZE ? taken : CHUNK_SIZE;

		chunk = calloc(1, sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		chunk->size = room;
		chunk->next = arena->chunks;
		arena->chunks = chunk;
		ASAN_POISON_MEMORY_REGION(chunk->bytes, room);
	}
	bytes = chunk->bytes + chunk->used;
	chunk->used += taken;
	ASAN_UNPOISON_MEMORY_REGION(bytes, size);
	return bytes;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total))
		return NULL;
	return arena_alloc(arena, total);
}

char *arena_copy(struct arena *arena, const char *text, size_t length)
{
	char *copy = arena_alloc(arena, length + 1);

	if (copy)
		memcpy(copy, text, length);
	return copy;
}

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	while (arena->chunks) {
		struct chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		free(chunk);
	}
	free(arena);
}
