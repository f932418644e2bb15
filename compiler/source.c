/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The source: the first stage of the compiler, from a path to bytes that are known to be text.
 *
 * Everything behind it refers to the text by byte offsets (struct place); lines and columns are
 * worked out here, on demand, for the few places that a person gets to see.
 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "diagnostic.h"

static void close_file(int *fd)
{
	if (*fd > STDIN_FILENO)
		close(*fd);
}

static void free_bytes(char **bytes)
{
	free(*bytes);
}

/* Takes over `text`, which must have room for a NUL behind `size` bytes, on success only. */
static int source_make(const char *path, char *text, size_t size, struct source *source)
{
	struct source made = {.text = text, .size = size};
	const char *slash;

	made.path = strdup(strcmp(path, "-") ? path : "<stdin>");
	if (!made.path)
		return -ENOMEM;
	/* Without memory for its context libcrypto would crash, not fail. */
	if (!OSSL_LIB_CTX_get0_global_default() ||
	    !EVP_Digest(text, size, made.sha256, NULL, EVP_sha256(), NULL)) {
		free(made.path);
		return -ENOMEM;
	}
	slash = strrchr(made.path, '/');
	made.name = slash ? slash + 1 : made.path;
	text[size] = '\0';
	*source = made;
	return 0;
}

int source_read(const char *path, struct source *source)
{
	__attribute__((cleanup(close_file))) int fd = STDIN_FILENO;
	__attribute__((cleanup(free_bytes))) char *text = NULL;
	size_t size = 0, room = 0;
	int err;

	if (strcmp(path, "-")) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	}
	for (;;) {
		ssize_t got;

		if (size + 1 >= room) {
			char *grown;

			room = room ? room * 2 : 64 << 10;
			grown = realloc(text, room);
			if (!grown)
				return -ENOMEM;
			text = grown;
		}
		got = read(fd, text + size, room - size - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		size += got;
		if (size > SOURCE_MAX)
			return -EFBIG;
	}
	err = source_make(path, text, size, source);
	if (!err)
		text = NULL;
	return err;
}

int source_from_bytes(const char *path, const void *bytes, size_t size, struct source *source)
{
	__attribute__((cleanup(free_bytes))) char *text = NULL;
	int err;

	if (size > SOURCE_MAX)
		return -EFBIG;
	text = malloc(size + 1);
	if (!text)
		return -ENOMEM;
	if (size)
		memcpy(text, bytes, size);
	err = source_make(path, text, size, source);
	if (!err)
		text = NULL;
	return err;
}

void source_free(struct source *source)
{
	free(source->path);
	free(source->text);
	*source = (struct source){0};
}

size_t character_decode(const char *text, size_t size, uint32_t *character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *bytes = (const unsigned char *)text;
	size_t length, i;
	uint32_t value;

	if (!size)
		return 0;
	if (bytes[0] < 0x80) {
		*character = bytes[0];
		return 1;
	}
	if (bytes[0] >= 0xc2 && bytes[0] < 0xe0) {
		length = 2;
		value = bytes[0] & 0x1f;
	} else if (bytes[0] >= 0xe0 && bytes[0] < 0xf0) {
		length = 3;
		value = bytes[0] & 0x0f;
	} else if (bytes[0] >= 0xf0 && bytes[0] < 0xf5) {
		length = 4;
		value = bytes[0] & 0x07;
	} else {
		return 0;
	}
	if (length > size)
		return 0;
	for (i = 1; i < length; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (bytes[i] & 0x3f);
	}
	if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return 0;
	*character = value;
	return length;
}

bool character_is_hidden(uint32_t character)
{
	return (character < 0x20 && character != '\t' && character != '\n') ||
	       (character >= 0x7f && character < 0xa0) ||
	       (character >= 0x200e && character <= 0x200f) ||
	       (character >= 0x2028 && character <= 0x202e) ||
	       (character >= 0x2066 && character <= 0x2069) || character == 0x061c ||
	       character == 0xfeff || (character & 0xfffe) == 0xfffe;
}

size_t source_bom(const struct source *source)
{
	return source->size >= 3 && !memcmp(source->text, "\xef\xbb\xbf", 3) ? 3 : 0;
}

int source_check(const struct source *source, struct diagnostics *diagnostics)
{
	size_t offset = source_bom(source);

	while (offset < source->size) {
		const char *text = source->text + offset;
		size_t rest = source->size - offset, length;
		uint32_t character = 0;

		length = character_decode(text, rest, &character);
		if (!length) {
			diagnostics_error(diagnostics, (struct place){offset, 1},
					  "byte 0x%02x is not valid UTF-8: save the rule file as "
					  "UTF-8 text",
					  (unsigned char)*text);
			return -EINVAL;
		}
		if (character_is_hidden(character) &&
		    !(character == '\r' && rest > 1 && text[1] == '\n')) {
			diagnostics_error(diagnostics, (struct place){offset, length},
					  "U+%04X is a character that cannot be seen: remove it",
					  character);
			return -EINVAL;
		}
		offset += length;
	}
	return 0;
}

struct place source_line(const struct source *source, size_t offset)
{
	const char *text = source->text, *start, *end;

	if (offset > source->size)
		offset = source->size;
	start = memrchr(text, '\n', offset);
	start = start ? start + 1 : text + source_bom(source);
	if (start > text + offset)
		offset = start - text;
	end = memchr(text + offset, '\n', source->size - offset);
	if (!end)
		end = text + source->size;
	if (end > start && end[-1] == '\r')
		end--;
	return (struct place){start - text, end - start};
}

struct position source_position(const struct source *source, size_t offset)
{
	struct place line = source_line(source, offset);
	struct position position = {.line = 1, .column = 1};
	const char *text = source->text, *newline = text;
	size_t at = line.offset;

	if (offset > source->size)
		offset = source->size;
	while ((newline = memchr(newline, '\n', text + line.offset - newline))) {
		position.line++;
		newline++;
	}
	while (at < offset) {
		uint32_t character;
		size_t length = character_decode(text + at, source->size - at, &character);

		/* A byte that is no character is shown, and counted, by itself. */
		at += length ? length : 1;
		if (at <= offset)
			position.column++;
	}
	return position;
}
