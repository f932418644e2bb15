/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_CLSACT_H
#define MPLEX_RUN_CLSACT_H

#include <stdbool.h>
#include <stddef.h>

struct interface;

/* Filters of ours on an interface; all zero: none. */
struct clsact {
	int ifindex;
	bool made; /* the qdisc was made by us */
	bool ingress, egress;
};

/*
 * Removes filters that a killed run left, and the qdisc with them if nobody else uses it. Returns
 * 0, or -errno with a sentence.
 */
int clsact_clean(const struct interface *interface, char *error, size_t n);

/*
 * Attaches the programs (fd; -1: none) as filters of a clsact qdisc, which is made where there is
 * none. What a killed run left is removed first. Returns 0, or -errno with a sentence, and then
 * nothing is attached and *out is untouched. Release with clsact_detach.
 */
int clsact_attach(const struct interface *interface, int ingress, int egress, struct clsact *out,
		  char *error, size_t n);

/* Removes the filters, and the qdisc if it is ours and nobody else uses it. */
void clsact_detach(struct clsact *clsact);

#endif
