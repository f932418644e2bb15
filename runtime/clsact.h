/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_CLSACT_H
#define MPLEX_RUN_CLSACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct interface;

/* Filters of ours on an interface; all zero: none. */
struct clsact {
	int ifindex;
	bool made; /* the qdisc was made by us */
	bool ingress, egress;
};

/*
 * Finds filters of ours, of this or an earlier process. Returns 0, or -errno with a sentence
 * (-EEXIST: another's filter has our place), and then *out is untouched.
 */
int clsact_find(const struct interface *interface, struct clsact *out, char *error, size_t n);

/* The id of the program of our filter at a hook, or 0. */
uint32_t clsact_program(const struct interface *interface, bool ingress);

/*
 * Removes filters that a killed run left, and the qdisc with them if nobody else uses it. Returns
 * 0, or -errno with a sentence.
 */
int clsact_clean(const struct interface *interface, char *error, size_t n);

/*
 * Attaches the programs (fd; -1: leave what is there) as filters of a clsact qdisc, which is made
 * where there is none; a filter of ours gets the new program at once. *clsact says what was there
 * before, and afterwards what is. Returns 0, or -errno with a sentence, and then no filter has been
 * added. Release with clsact_detach.
 */
int clsact_attach(const struct interface *interface, int ingress, int egress, struct clsact *clsact,
		  char *error, size_t n);

/* Removes the filters that are not to stay, and with the last one the qdisc as clsact_detach. */
void clsact_trim(struct clsact *clsact, bool ingress, bool egress);

/* Removes the filters, and the qdisc if it is ours and nobody else uses it. */
void clsact_detach(struct clsact *clsact);

#endif
