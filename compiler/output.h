/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_OUTPUT_H
#define MPLEX_OUTPUT_H

#include <stddef.h>

/*
 * Writes a file whole or not at all: on failure, or when a signal ends the program meanwhile, what
 * was there before still is, and no other file is left behind. Standard output ("-"), pipes and
 * devices cannot be replaced and are simply written. Returns 0 or a negative errno.
 */
int output_write(const char *path, const void *bytes, size_t size);

#endif
