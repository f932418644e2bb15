/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A set of ports, and how sentences write it. */
#ifndef MPLEX_RUN_PORTS_H
#define MPLEX_RUN_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ports {
	uint64_t bits[65536 / 64];
};

static inline void ports_add(struct ports *ports, uint16_t port)
{
	ports->bits[port / 64] |= 1ULL << port % 64;
}

static inline bool ports_have(const struct ports *ports, uint16_t port)
{
	return ports->bits[port / 64] >> port % 64 & 1;
}

/* The first port from `from` on, or 65536. */
unsigned ports_next(const struct ports *ports, unsigned from);

unsigned ports_count(const struct ports *ports);

/* Writes "port 5001" or "ports 5001, 5002 and 7 more", cut to size; returns text. */
const char *ports_text(const struct ports *ports, char *text, size_t size);

#endif
