/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_EMIT_H
#define MPLEX_EMIT_H

#include <stdio.h>

struct plan;

/*
 * Writes the program of a plan as BPF C. The same plan gives the same bytes everywhere. Returns 0
 * or -ENOMEM; whether the stream took it is the caller's to check with ferror and fflush.
 */
int emit(const struct plan *plan, FILE *out);

#endif
