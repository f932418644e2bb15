/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Text in memory: a stream of the C library's whose bytes come here. A write that falls short sets
 * the stream's error, so that whoever writes need not look at each of them.
 */
#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROOM_MIN = 4096,
};

/* Room for so many bytes more, and the NUL. */
static bool make_room(struct text *text, size_t more)
{
	size_t room = text->room ? text->room : ROOM_MIN;
	char *bytes;

	while (room - text->size <= more)
		if (__builtin_mul_overflow(room, 2, &room))
			return false;
	if (room == text->room)
		return true;
	bytes = realloc(text->bytes, room);
	if (!bytes)
		return false;
	text->bytes = bytes;
	text->room = room;
	return true;
}

static ssize_t append(void *cookie, const char *bytes, size_t size)
{
	struct text *text = cookie;

	if (!make_room(text, size))
		return 0;
	memcpy(text->bytes + text->size, bytes, size);
	text->size += size;
	return (ssize_t)size;
}

FILE *text_open(struct text *text)
{
	return fopencookie(text, "w", (cookie_io_functions_t){.write = append});
}

int text_close(FILE *stream, struct text *text)
{
	bool failed = !stream || ferror(stream);

	if (stream && fclose(stream))
		failed = true;
	if (failed || !make_room(text, 0)) {
		free(text->bytes);
		*text = (struct text){0};
		return -ENOMEM;
	}
	text->bytes[text->size] = '\0';
	return 0;
}
