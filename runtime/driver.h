/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_DRIVER_H
#define MPLEX_RUN_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

struct interface;

/* What a driver does with XDP programs: enum netdev_xdp_act of linux/netdev.h (Linux 6.3). */
enum {
	DRIVER_XDP = 1 << 0,	   /* runs them in native mode */
	DRIVER_XDP_FRAGS = 1 << 5, /* shows them packets of several buffers */
};

/*
 * Asks the kernel for the bits above, and others of that enum. Returns 0, -EOPNOTSUPP where the
 * kernel cannot tell, or -errno, and then *features is untouched.
 */
int driver_xdp_features(const struct interface *interface, uint64_t *features);

/*
 * Whether a feature is switched on, by the kernel's name of it ("rx-gro-hw"; `ethtool -k` has other
 * names for some). False where the driver does not know it. fd is any socket of the interface's
 * network namespace.
 */
bool driver_feature(int fd, const char *interface, const char *name);

/* Likewise, of an interface of this namespace. */
bool driver_own_feature(const struct interface *interface, const char *name);

#endif
