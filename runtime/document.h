/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * JSON documents in BPF maps: bpffs holds nothing else, and what is pinned has to explain itself.
 *
 * A document is an array map of DOCUMENT_CHUNK bytes an entry, filled with compact JSON that ends
 * with a NUL. It is frozen once it is written, so it never changes; another one takes its place.
 */
#ifndef MPLEX_RUN_DOCUMENT_H
#define MPLEX_RUN_DOCUMENT_H

#include <stddef.h>

#include <jansson.h>

enum {
	DOCUMENT_CHUNK = 4096
};

/*
 * Makes a document and pins it, in place of another if there is one, at once. Returns 0 or -errno
 * with a sentence, and then nothing has changed. The value is the caller's.
 */
int document_pin(const json_t *value, const char *path, char *error, size_t n);

/*
 * Reads a pinned document. Returns 0; -ENOENT where nothing is pinned; -EINVAL where it is no
 * document; else -errno; each with a sentence, and then *out is untouched. Release with
 * json_decref.
 */
int document_read(const char *path, json_t **out, char *error, size_t n);

#endif
