/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_RIGHTS_H
#define MPLEX_RUN_RIGHTS_H

#include <stdbool.h>

/* Whether this process has a capability (CAP_...) in effect. */
bool rights_have(int capability);

/*
 * Gives up every capability but those that a program takes to be replaced and its counters to be
 * read, for good: also for what this process would execute.
 */
void rights_reduce(void);

#endif
