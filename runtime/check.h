/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What has to hold for an object to run on an interface, one function for each question. Each adds
 * at least one finding where it applies to the subject, and changes nothing. A load asks those
 * whose problems it could not survive; the doctor asks all.
 */
#ifndef MPLEX_RUN_CHECK_H
#define MPLEX_RUN_CHECK_H

#include <stddef.h>

#include "attach.h"

struct findings;
struct interface;
struct manifest;
struct object;

/* What is asked about. */
struct subject {
	const struct interface *interface;
	const struct manifest *manifest; /* NULL: no object is named, for checks that need none */
	const char *path;		 /* of the object, for sentences */
	const struct object *object;	 /* opened, for check_addresses alone */
	enum mode mode;
};

typedef void check(const struct subject *subject, struct findings *findings);

/* Whether this process may load and attach BPF programs. Looks at no subject: NULL will do. */
check check_rights;

/* Ethernet, but not the loopback interface. */
check check_interface;

/* The kernel functions that the object's programs call. */
check check_kfuncs;

/* The sysctls that the programs depend on. */
check check_sysctls;

/* Another XDP program on the interface. */
check check_xdp_free;

/* VLAN tags that XDP would not see, where its answers need them. */
check check_vlan;

/* A veth whose peer may not take the answers. */
check check_veth;

/* ---- only the doctor asks these ---- */

/* BTF, tcx and the JIT. */
check check_kernel;

/* The limit that old kernels have on locked memory. */
check check_memlock;

/* Where pins live. */
check check_bpffs;

/* Native mode, the MTU, and what the hardware does to packets before XDP sees them. */
check check_driver;

/* The host's own addresses, against the room for them in the object. */
check check_addresses;

/* What tcp clients are offered. */
check check_tcp_options;

/* Servers that miss, that are elsewhere, that cannot be handed a connection, that lose theirs. */
check check_servers;

/* Clients on this host. */
check check_local_clients;

/* What netfilter will do to the clients' packets. */
check check_firewall;

/* Runs a check. Returns 0, or -EINVAL with its first problem as a sentence. */
int check_require(check *check, const struct subject *subject, char *error, size_t n);

#endif
