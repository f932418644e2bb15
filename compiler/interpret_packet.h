/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The interpreter's reading of a frame, from the Ethernet header to the four bytes behind the last
 * IP header, and its checksums. Numbers are in host order; docs and choices as in interpret.h.
 */
#ifndef MPLEX_INTERPRET_PACKET_H
#define MPLEX_INTERPRET_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "interpret.h"

enum {
	ETHERNET_HEADER = 14,
	IP_ICMP = 1,
	IP_TCP = 6,
	IP_UDP = 17,
	IP_ICMPV6 = 58,
};

struct packet {
	const uint8_t *frame;
	size_t length;
	uint8_t family; /* 4 or 6 */
	size_t ip;	/* offsets into the frame */
	size_t transport;
	size_t end; /* of the IP packet by its own account, which the frame may not bear out */
	uint8_t protocol;
	bool first_fragment;
	const uint8_t *source, *destination; /* addresses */
	uint16_t source_port, destination_port;
};

/*
 * Whether there are four bytes behind the IP headers, which are the ports of TCP and UDP; then
 * *packet is filled in. A later fragment has none.
 */
bool packet_parse(const uint8_t *frame, size_t length, struct packet *packet);

/* The same from an IP header of that family on, which stands at `ip` in the frame. */
bool packet_parse_ip(const uint8_t *frame, size_t length, size_t ip, uint8_t family,
		     struct packet *packet);

/* Both ends of a TCP or UDP packet. */
struct tuple packet_tuple(const struct packet *packet);

uint16_t get16(const uint8_t *bytes);
uint32_t get32(const uint8_t *bytes);
void put16(uint8_t *bytes, uint16_t value);
void put32(uint8_t *bytes, uint32_t value);

/* RFC 1624, equation 3, for one 16-bit word. */
uint16_t checksum_update(uint16_t checksum, uint16_t from, uint16_t to);

/* RFC 1071, over an even number of bytes; sum is what was summed up before. */
uint32_t checksum_add(uint32_t sum, const uint8_t *bytes, size_t length);
uint16_t checksum_fold(uint32_t sum);

#endif
