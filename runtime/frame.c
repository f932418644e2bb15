/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames as a client sends them and as it gets them back: the plainest that there are, Ethernet, IP
 * and UDP or TCP, for the tests of a rule file.
 */
#include <netinet/in.h>
#include <string.h>

#include "frame.h"

enum {
	ETHERNET = 14,
	IPV4 = 20,
	IPV6 = 40,
	UDP = 8,
	TCP = 20,
	TTL = 64,
	WINDOW = 65535,
};

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static uint16_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* Where the transport header stands. */
static size_t transport(const struct flow *flow)
{
	return ETHERNET + (flow->family == 4 ? IPV4 : IPV6);
}

/* Everything before the transport header, which has length bytes with its payload. */
static void put_headers(const struct flow *flow, uint8_t protocol, uint16_t length, uint8_t *frame)
{
	uint8_t *ip = frame + ETHERNET;

	memset(frame, 0, transport(flow));
	memcpy(frame, flow->server_mac, 6);
	memcpy(frame + 6, flow->client_mac, 6);
	if (flow->family == 4) {
		put16(frame + 12, 0x0800);
		ip[0] = 0x45;
		put16(ip + 2, IPV4 + length);
		ip[8] = TTL;
		ip[9] = protocol;
		memcpy(ip + 12, flow->client, 4);
		memcpy(ip + 16, flow->server, 4);
	} else {
		put16(frame + 12, 0x86dd);
		ip[0] = 0x60;
		put16(ip + 4, length);
		ip[6] = protocol;
		ip[7] = TTL;
		memcpy(ip + 8, flow->client, 16);
		memcpy(ip + 24, flow->server, 16);
	}
}

size_t frame_udp(const struct flow *flow, const uint8_t *payload, uint16_t length, uint8_t *frame)
{
	uint8_t *udp = frame + transport(flow);

	put_headers(flow, IPPROTO_UDP, UDP + length, frame);
	put16(udp, flow->client_port);
	put16(udp + 2, flow->server_port);
	put16(udp + 4, UDP + length);
	put16(udp + 6, 0);
	memcpy(udp + UDP, payload, length);
	return transport(flow) + UDP + length;
}

size_t frame_tcp(const struct flow *flow, const struct segment *segment, const uint8_t *payload,
		 uint16_t length, uint8_t *frame)
{
	uint8_t *tcp = frame + transport(flow);

	put_headers(flow, IPPROTO_TCP, TCP + length, frame);
	memset(tcp, 0, TCP);
	put16(tcp, flow->client_port);
	put16(tcp + 2, flow->server_port);
	put32(tcp + 4, segment->seq);
	put32(tcp + 8, segment->ack);
	tcp[12] = TCP / 4 << 4;
	tcp[13] = segment->flags;
	put16(tcp + 14, WINDOW);
	if (length)
		memcpy(tcp + TCP, payload, length);
	return transport(flow) + TCP + length;
}

uint16_t frame_destination(const struct flow *flow, const uint8_t *frame, size_t size)
{
	return size < transport(flow) + 4 ? 0 : get16(frame + transport(flow) + 2);
}

bool frame_segment(const struct flow *flow, const uint8_t *frame, size_t size,
		   struct segment *segment)
{
	const uint8_t *tcp = frame + transport(flow);

	if (size < transport(flow) + TCP)
		return false;
	segment->seq = get32(tcp + 4);
	segment->ack = get32(tcp + 8);
	segment->flags = tcp[13];
	return true;
}
