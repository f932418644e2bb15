/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes packets in the pcapng format (draft-ietf-opsawg-pcapng), which has room for a comment to
 * each packet. One section, one interface of Ethernet frames, times in nanoseconds. Blocks are in
 * host byte order, as the format has it. What a write meets shows in the stream (ferror).
 */
#ifndef MPLEX_RUN_PCAPNG_H
#define MPLEX_RUN_PCAPNG_H

#include <stdint.h>
#include <stdio.h>

struct pcapng_packet {
	uint64_t time;	     /* ns since 1970 */
	const char *comment; /* UTF-8 */
	uint32_t length;     /* on the wire */
	uint32_t captured;   /* bytes in data, at most length */
	const void *data;    /* Ethernet header first */
};

/* The file's start: what made it, and the interface with the captured length it is held to. */
void pcapng_start(FILE *out, const char *application, const char *interface, uint32_t snaplen);

void pcapng_packet(FILE *out, const struct pcapng_packet *packet);

/* The end: how many packets there were on the interface, and how many of them are not here. */
void pcapng_end(FILE *out, uint64_t time, uint64_t seen, uint64_t dropped);

#endif
