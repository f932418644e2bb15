/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_NODE_H
#define MPLEX_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules.h"

struct arena;

enum node_kind {
	NODE_SCALAR,
	NODE_SEQUENCE,
	NODE_MAPPING,
	NODE_BROKEN, /* something that was refused, with a diagnostic */
};

/*
 * One node of the tree. Scalars are text, whatever YAML makes of it: `no`, `013` and `1:30` are the
 * characters that stand there, and nothing at all is the empty text.
 */
struct node {
	enum node_kind kind;
	uint32_t line;	    /* from 1 */
	struct place place; /* of a mapping or sequence without brackets: its first byte */
	bool quoted;	    /* scalar: in '' or "" */
	uint32_t length;    /* scalar: bytes of the text; else how many items or keys */
	union {
		const char *text;   /* scalar; a NUL follows, another may be inside */
		struct node *first; /* item, or key: keys are always scalars, each there once */
	};
	struct node *next;  /* item or key of the same sequence or mapping */
	struct node *value; /* of a key */
};

/*
 * Reads a source that source_check has found good into a tree whose memory is the arena's. What is
 * wrong is added to diagnostics. Returns 0 with the tree in *root, although there may have been
 * errors (their nodes are NODE_BROKEN, or left out); -EINVAL when there can be no tree; -ENOMEM. On
 * failure *root is untouched.
 */
int yaml_read(const struct source *source, struct diagnostics *diagnostics, struct arena *arena,
	      struct node **root);

#endif
