/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_TESTS_RULE_FILE_H
#define MPLEX_TESTS_RULE_FILE_H

#include <stdbool.h>
#include <stdio.h>

struct random;

/*
 * Writes a random rule file that the front end accepts, one item a line; with or without tag
 * patterns, and with or without tcp.
 */
void rule_file_write(struct random *random, bool patterns, bool tcp, FILE *out);

#endif
