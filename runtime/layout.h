/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_LAYOUT_H
#define MPLEX_RUN_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

struct btf;

/* Where a thing stands: in bytes, from the start of its structure or section. */
struct extent {
	uint32_t offset;
	uint32_t size;
};

/*
 * Finds a member of a structure by its name; type is the structure's id, typedefs and qualifiers
 * before it are looked through. Returns 0; -ENOENT when it has none, or is no structure, or the
 * member is a bit field, and then *out is untouched.
 */
int layout_member(const struct btf *btf, uint32_t type, const char *name, struct extent *out);

/* Likewise, for a variable in a data section such as ".rodata". */
int layout_variable(const struct btf *btf, const char *section, const char *name,
		    struct extent *out);

/* A map's types by its name: its definition in ".maps". Returns 0 or -ENOENT, as above. */
int layout_map(const struct btf *btf, const char *name, uint32_t *key, uint32_t *value);

/*
 * Whether two types, of two BTFs, mean the same bytes: the same members by name, place and type,
 * all the way down; or two data sections, the same variables. Typedefs and qualifiers are looked
 * through.
 */
bool layout_equal(const struct btf *a, uint32_t type_a, const struct btf *b, uint32_t type_b);

#endif
