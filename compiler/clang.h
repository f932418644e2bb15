/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_CLANG_H
#define MPLEX_CLANG_H

#include <stddef.h>

struct diagnostics;

/*
 * Compiles BPF C into an object with clang, or with the program that the environment variable CLANG
 * names. The object depends on nothing but the code and the compiler. Returns 0 with *object, which
 * the caller frees, or a negative errno after adding an error to diagnostics; what clang itself
 * says goes to standard error.
 */
int clang_compile(const char *code, size_t size, struct diagnostics *diagnostics, void **object,
		  size_t *object_size);

#endif
