/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_ATTACH_H
#define MPLEX_RUN_ATTACH_H

#include <stdbool.h>
#include <stddef.h>

#include "clsact.h"

struct interface;
struct object;

/* With extra room for headers, the largest packet that fits one page in common drivers. */
enum {
	ONE_PAGE_MTU = 3400
};

/* Where XDP runs. */
enum mode {
	MODE_NATIVE,  /* in the driver */
	MODE_GENERIC, /* after the driver made a socket buffer */
};

/* "native" or "generic" */
const char *mode_name(enum mode mode);

/* A loaded object's programs on an interface. */
struct attachment {
	int xdp; /* links; -1: none */
	int ingress, egress;
	struct clsact clsact; /* what the kernel could not attach by tcx */
};

/*
 * Attaches all programs of the object or none. Returns 0, or -errno with a sentence, and then *out
 * is untouched. Release with detach.
 */
int attach(const struct object *object, const struct interface *interface, enum mode mode,
	   struct attachment *out, char *error, size_t n);

/* Takes the programs off again: XDP first, so that nothing new is judged. */
void detach(struct attachment *attachment);

/* How its TC programs are attached: "tcx", "clsact", or "" where there are none. */
const char *attachment_tc(const struct attachment *attachment);

#endif
