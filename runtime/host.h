/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_HOST_H
#define MPLEX_RUN_HOST_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A network interface of this network namespace. */
struct interface {
	char name[IFNAMSIZ];
	unsigned index;
	bool loopback;
	bool ethernet;
	bool up;
	uint8_t mac[6];
	unsigned mtu;	 /* bytes of an IP packet */
	char driver[32]; /* "" where it does not tell */
};

/*
 * Looks an interface up by its name or an alternative name. Returns 0 or -errno with a sentence,
 * and then *out is untouched.
 */
int host_interface(const char *name, struct interface *out, char *error, size_t n);

/* Finds a VLAN device above the interface; true and its name if there is one. */
bool host_vlan_above(const struct interface *interface, char name[IFNAMSIZ]);

/* The host's own addresses, each once, those of the interface first, in the order of the wire. */
struct addresses {
	uint8_t (*v4)[4];
	size_t v4_count;
	uint8_t (*v6)[16];
	size_t v6_count;
};

/*
 * Collects the addresses of all interfaces of this namespace but 127.0.0.0/8 and ::1. IPv6
 * link-local ones count only where they belong to the interface or to one above it. The same
 * addresses come in the same order. Returns 0 or -errno with a sentence, and then *out is
 * untouched. Free with addresses_free.
 */
int host_addresses(const struct interface *interface, struct addresses *out, char *error, size_t n);

void addresses_free(struct addresses *addresses);

bool addresses_equal(const struct addresses *a, const struct addresses *b);

/*
 * Reads count whole numbers of a sysctl, its name with slashes ("net/ipv4/tcp_rmem"). Returns 0,
 * or -errno, and then *values may be partly set.
 */
int host_sysctl(const char *name, int64_t *values, size_t count);

#endif
