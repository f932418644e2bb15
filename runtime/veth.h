/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_VETH_H
#define MPLEX_RUN_VETH_H

#include <net/if.h>
#include <stdbool.h>

struct interface;

/* The other end of a veth pair. */
struct veth_peer {
	char name[IFNAMSIZ];
	char enter[192]; /* what a command to its namespace starts with, "" where that is this one
			  */
	bool ready;	 /* takes frames that XDP redirects to this end */
};

/*
 * Finds the peer of a veth, in this namespace or in one that namespaces_list finds. Returns 0;
 * -ENOENT where it is in neither; or -errno; and then *out is untouched.
 */
int veth_find_peer(const struct interface *interface, struct veth_peer *out);

#endif
