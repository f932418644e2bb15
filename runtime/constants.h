/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_CONSTANTS_H
#define MPLEX_RUN_CONSTANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct addresses;
struct interface;
struct object;

/* A receive window as a SYN-ACK announces it. */
struct window {
	uint16_t size; /* bytes, unscaled */
	uint8_t scale; /* shift */
};

/*
 * The window that the kernel announces on a new connection: rmem_initial and rmem_max are the
 * second and third number of net.ipv4.tcp_rmem, core_rmem_max is net.core.rmem_max, mss the
 * interface's.
 */
struct window window_select(int64_t rmem_initial, int64_t rmem_max, int64_t core_rmem_max,
			    uint32_t mss);

/* A constant as the machine asks for it now. */
struct constant {
	const char *name;   /* of the variable, docs/object.md */
	const char *source; /* where it comes from, for sentences */
	bool vital;	    /* connections break where it no longer holds */
	uint8_t value[8];
	size_t size; /* bytes of it */
};

enum {
	CONSTANTS_MAX = 12
};

struct constants {
	struct constant list[CONSTANTS_MAX];
	size_t count;
};

/*
 * All constants but the host's addresses and the cookie key, for an interface and a mode. Returns 0
 * or -errno with a sentence, and then *out is untouched.
 */
int constants_collect(const struct interface *interface, bool native, struct constants *out,
		      char *error, size_t n);

/* Whether the program compares destinations with the host's own addresses. */
bool constants_use_addresses(const struct object *object);

/*
 * Writes all constants of docs/object.md that the object has, from the interface and the sysctls.
 * Returns 0 or -errno with a sentence.
 */
int constants_set(struct object *object, const struct interface *interface,
		  const struct addresses *addresses, bool native, char *error, size_t n);

/* Whether the program can hold the addresses. Returns 0, or -E2BIG with a sentence. */
int constants_check_addresses(const struct object *object, const struct addresses *addresses,
			      char *error, size_t n);

/* Writes the host's addresses alone. */
int constants_set_addresses(struct object *object, const struct addresses *addresses, char *error,
			    size_t n);

/* Draws the cookie key. */
int constants_set_key(struct object *object, char *error, size_t n);

/* Writes one constant of one byte, if the object has it. */
int constants_set_byte(struct object *object, const char *name, uint8_t value, char *error,
		       size_t n);

#endif
