/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The parts of templates/, embedded in the compiler by embed_parts.c when it is built.
 *
 * A part is a piece of BPF C that is emitted whole and verbatim, behind the parts that it needs. A
 * written part is the compiler's own: it depends on the rules, and has no text here.
 */
#ifndef MPLEX_PARTS_H
#define MPLEX_PARTS_H

#include "parts_list.h" /* made by embed_parts.c: enum part_id, PARTS of them */

struct part {
	const char *name;
	const char *text; /* NULL: written by the compiler */
	const enum part_id *needs;
	unsigned need_count;
};

extern const struct part parts[PARTS];

#endif
