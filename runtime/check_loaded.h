/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_CHECK_LOADED_H
#define MPLEX_RUN_CHECK_LOADED_H

struct findings;
struct interface;
struct pinned;

/*
 * Whether what is attached to an interface of this network namespace still is, and whether what it
 * was loaded with still holds.
 */
void check_loaded(const struct pinned *pinned, const struct interface *interface,
		  struct findings *findings);

#endif
