/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_FOLLOW_H
#define MPLEX_RUN_FOLLOW_H

#include <stddef.h>

#include "host.h"

struct object;
struct state;

/*
 * Loads what runs once more if addresses, interface or sysctls are not those any more that it was
 * loaded for: a replacement by itself. held is the object where the caller has it open, which then
 * is the one that was loaded; NULL: its file is read again. Returns 1 when it was loaded anew, 0
 * when there was no need, or -errno with a sentence, and then what runs goes on as it was. On
 * success *interface, which is the state's, is as it is now.
 */
int follow(struct state *state, struct interface *interface, struct object *held, char *error,
	   size_t n);

#endif
