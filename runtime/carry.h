/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_CARRY_H
#define MPLEX_RUN_CARRY_H

#include <stddef.h>

struct bpf_program;
struct generation;
struct object;

/*
 * Lets an object, which is not loaded yet, go on with what a generation has learned: its maps, but
 * for those that every generation has of its own, and its cookie key. Names of maps that the object
 * has in another layout, so that they start empty, are written to dropped ("pending, flows"; "":
 * none). Returns 0 or -errno with a sentence.
 */
int carry_state(struct object *object, const struct generation *from, char *dropped,
		size_t dropped_size, char *error, size_t n);

/*
 * The program that a TC hook is to run: the one that runs already (-1: none) where the loaded one
 * (NULL: none) would do the same with the same maps, so that TC programs change only with the
 * version of mplexc. A file descriptor of the one or the other, or -1.
 */
int carry_program(const struct object *object, const struct bpf_program *program, int running);

/*
 * Ends what the rules before left in `reply_ports`: replies of a backend port to everybody, which
 * the rules now do not want any more. Call it when only the new ones run.
 */
void carry_reply_ports(const struct generation *from, const struct generation *to);

#endif
