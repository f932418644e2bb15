/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_RULE_TEST_H
#define MPLEX_RUN_RULE_TEST_H

#include <stdbool.h>

/*
 * mplex-run test OBJECT: runs the examples of the rule file in the kernel and prints a line for
 * each. Returns the exit status: done when all came out as expected, failed when one did not.
 */
int rule_test(const char *path, bool json);

#endif
