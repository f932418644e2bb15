/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_TESTING_H
#define MPLEX_TESTING_H

#include <stdio.h>

struct rules;
struct source;

/*
 * Runs the examples that the rule file carries (`tests`) through the interpreter, a test of a
 * listener of both protocols by each. Prints one line for each that fails, at its place in source,
 * and a last line with the sum. Needs no privileges. Returns the number of tests that failed, or
 * -ENOMEM or -EIO (libcrypto) when they could not be run; whether the stream took it is the
 * caller's to check.
 */
int rule_tests_run(const struct rules *rules, const struct source *source, FILE *out);

#endif
