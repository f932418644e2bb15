/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The checks before anything is loaded. Each returns 0, or -errno with a sentence that says what
 * stands in the way and what removes it. None changes anything.
 */
#ifndef MPLEX_RUN_CHECK_H
#define MPLEX_RUN_CHECK_H

#include <stddef.h>

#include "attach.h"

struct interface;
struct object;

/* Whether this process may load and attach BPF programs. */
int check_rights(char *error, size_t n);

/* The kernel functions that the programs call. */
int check_kernel(const struct object *object, char *error, size_t n);

/* The sysctls that the programs depend on. */
int check_sysctls(const struct object *object, char *error, size_t n);

/* Ethernet, but not the loopback interface. */
int check_interface(const struct interface *interface, char *error, size_t n);

/* Another XDP program on the interface. */
int check_xdp_free(const struct interface *interface, char *error, size_t n);

/* VLAN tags that XDP would not see, where its answers need them. */
int check_vlan(const struct interface *interface, const struct object *object, char *error,
	       size_t n);

/*
 * A veth whose peer may not take the answers: not a failure, since the peer cannot be asked from
 * here. Returns 0, or -ENETUNREACH with a warning in error.
 */
int check_veth(const struct interface *interface, const struct object *object, enum mode mode,
	       char *error, size_t n);

#endif
