/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_ATTACH_H
#define MPLEX_RUN_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clsact.h"

struct interface;

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

/* Programs of one object, by file descriptors that belong to someone else; -1: none. */
struct programs {
	int xdp, ingress, egress;
};

/* How programs are held on an interface. */
struct attachment {
	int xdp, ingress, egress; /* links; -1: none */
	struct clsact clsact;	  /* what the kernel could not attach by tcx */
	const char *pins; /* the directory that links are pinned in, or NULL; the caller's */
};

/* Nothing, held by nobody. */
#define NO_ATTACHMENT ((struct attachment){.xdp = -1, .ingress = -1, .egress = -1})

/*
 * Opens the links that are pinned in attachment->pins, and finds the filters on the interface
 * (NULL: it is gone). Returns 0 or -errno with a sentence, and then it is to be closed all the
 * same.
 */
int attachment_open(struct attachment *attachment, const struct interface *interface, char *error,
		    size_t n);

/*
 * The id of the program that the XDP link runs; 0: there is no link, or its interface is gone.
 * Returns 0, or -errno where that cannot be told, and then *out is untouched.
 */
int attachment_program(const struct attachment *attachment, uint32_t *out);

/* How its TC programs are attached: "tcx", "clsact", or "" where there are none. */
const char *attachment_tc(const struct attachment *attachment);

/* Whether the TC program with the id is in its place on an interface, whoever holds it there. */
bool tc_program_runs(const struct interface *interface, bool ingress, uint32_t id);

/*
 * Puts the TC programs where they are not yet, each at once in place of the one before; a hook that
 * has no program among these keeps the one it has. Returns 0 or -errno with a sentence; what was
 * done by then stays.
 */
int attach_tc(struct attachment *attachment, const struct interface *interface,
	      const struct programs *programs, char *error, size_t n);

/*
 * Puts the XDP program in place of the one before, at once, or where there was none. object is the
 * file that error messages name. Returns 0, or -errno with a sentence, and then nothing has
 * changed.
 */
int attach_xdp(struct attachment *attachment, const struct interface *interface, enum mode mode,
	       int program, const char *object, char *error, size_t n);

/* Takes those TC programs off whose hook has none among these. */
void detach_tc(struct attachment *attachment, const struct programs *programs);

/* Takes all programs off, XDP first, so that nothing new is judged. */
void detach(struct attachment *attachment);

/* Forgets what is held: what is pinned or a filter stays, the rest goes. */
void attachment_close(struct attachment *attachment);

#endif
