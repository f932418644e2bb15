/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_LOCK_H
#define MPLEX_RUN_LOCK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Locks a directory, which is made where it is missing, for this process alone, until the file
 * descriptor is closed. With wait it waits for whoever has it, else that is a failure which names
 * the process. Returns the file descriptor, or -errno with a sentence (-EBUSY: another has it).
 */
int lock_directory(const char *path, const char *interface, bool wait, char *error, size_t n);

/* Whether some process has it locked. */
bool lock_is_held(const char *path);

#endif
