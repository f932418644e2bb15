/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_SECTION_H
#define MPLEX_RUN_SECTION_H

#include <stddef.h>

/* The bytes of a file; free data. */
struct bytes {
	char *data;
	size_t size;
};

/*
 * Reads a whole regular file of at most 256 MB. Returns 0, or -errno with a sentence in error, and
 * then *out is untouched.
 */
int file_read(const char *path, struct bytes *out, char *error, size_t n);

/*
 * Finds a section of a BPF object in memory by its name. *out then points into file. Returns 0;
 * -EINVAL when file is not a whole BPF object of this machine's byte order; -ENOENT when it has no
 * such section; each with a sentence that starts with "it"; or -ENOMEM with a sentence. Then *out
 * is untouched.
 */
int section_find(const struct bytes *file, const char *name, struct bytes *out, char *error,
		 size_t n);

#endif
