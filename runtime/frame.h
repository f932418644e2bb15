/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_FRAME_H
#define MPLEX_RUN_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FRAME_HEADERS = 14 + 40 + 20,		  /* the largest that are made here */
	FRAME_MAX = 14 + 40 + UINT16_MAX,	  /* bytes of any frame made here */
	FRAME_TCP_PAYLOAD = UINT16_MAX - 20 - 20, /* the largest of one segment */
};

/* Two ends that exchange packets. Addresses in the order of the wire, ports in host order. */
struct flow {
	uint8_t family; /* 4 or 6 */
	uint8_t client_mac[6], server_mac[6];
	uint8_t client[16], server[16]; /* 4 or 16 bytes */
	uint16_t client_port, server_port;
};

enum tcp_flags {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
};

struct segment {
	uint32_t seq, ack;
	uint8_t flags; /* of enum tcp_flags */
};

/*
 * Write an Ethernet frame from client to server, with checksums of 0 (they say nothing about the
 * rules, and XDP runs before anybody verifies them), and return its size, at most FRAME_MAX.
 */
size_t frame_udp(const struct flow *flow, const uint8_t *payload, uint16_t length, uint8_t *frame);
size_t frame_tcp(const struct flow *flow, const struct segment *segment, const uint8_t *payload,
		 uint16_t length, uint8_t *frame);

/* The destination port of a frame of the flow's family without VLAN tags or options; 0: none. */
uint16_t frame_destination(const struct flow *flow, const uint8_t *frame, size_t size);

/* Likewise, the TCP header; false where the frame is too short for it. */
bool frame_segment(const struct flow *flow, const uint8_t *frame, size_t size,
		   struct segment *segment);

#endif
