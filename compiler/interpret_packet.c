/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Step 1 of what happens to a packet: the headers, as far as the four port bytes.
 */
#include "interpret_packet.h"

#include <string.h>

enum {
	VLAN_TAG = 4,
	VLAN_TAGS_MAX = 2,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_QINQ = 0x88a8,
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,

	IPV4_HEADER = 20,
	IPV4_MORE_FRAGMENTS = 0x2000,
	IPV4_FRAGMENT_OFFSET = 0x1fff,

	IPV6_HEADER = 40,
	IPV6_EXTENSIONS_MAX = 8,
	IPV6_HOP_BY_HOP = 0,
	IPV6_ROUTING = 43,
	IPV6_FRAGMENT = 44,
	IPV6_AUTHENTICATION = 51,
	IPV6_DESTINATION = 60,
	IPV6_MOBILITY = 135,
	IPV6_HIP = 139,
	IPV6_SHIM6 = 140,
	IPV6_FRAGMENT_OFFSET = 0xfff8,
	IPV6_MORE_FRAGMENTS = 0x0001,

	PORTS = 4,
};

uint16_t get16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

uint32_t get32(const uint8_t *bytes)
{
	return (uint32_t)get16(bytes) << 16 | get16(bytes + 2);
}

void put16(uint8_t *bytes, uint16_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

void put32(uint8_t *bytes, uint32_t value)
{
	put16(bytes, (uint16_t)(value >> 16));
	put16(bytes + 2, (uint16_t)value);
}

static bool parse_ipv4(struct packet *packet)
{
	const uint8_t *ip = packet->frame + packet->ip;

	if (packet->ip + IPV4_HEADER > packet->length)
		return false;
	if (ip[0] >> 4 != 4 || (ip[0] & 0xf) < IPV4_HEADER / 4)
		return false;

	uint16_t fragment = get16(ip + 6);

	if (fragment & IPV4_FRAGMENT_OFFSET)
		return false;
	packet->first_fragment = fragment & IPV4_MORE_FRAGMENTS;
	packet->family = 4;
	packet->end = packet->ip + get16(ip + 2);
	packet->transport = packet->ip + (size_t)(ip[0] & 0xf) * 4;
	packet->protocol = ip[9];
	packet->source = ip + 12;
	packet->destination = ip + 16;
	return true;
}

static bool is_extension(uint8_t protocol)
{
	switch (protocol) {
	case IPV6_HOP_BY_HOP:
	case IPV6_ROUTING:
	case IPV6_FRAGMENT:
	case IPV6_AUTHENTICATION:
	case IPV6_DESTINATION:
	case IPV6_MOBILITY:
	case IPV6_HIP:
	case IPV6_SHIM6:
		return true;
	default:
		return false;
	}
}

static bool parse_ipv6(struct packet *packet)
{
	const uint8_t *ip = packet->frame + packet->ip;

	if (packet->ip + IPV6_HEADER > packet->length || ip[0] >> 4 != 6)
		return false;
	packet->family = 6;
	packet->end = packet->ip + IPV6_HEADER + get16(ip + 4);
	packet->source = ip + 8;
	packet->destination = ip + 24;

	uint8_t next = ip[6];
	size_t at = packet->ip + IPV6_HEADER;

	for (int walked = 0; is_extension(next); walked++) {
		const uint8_t *header = packet->frame + at;
		size_t size;

		if (walked == IPV6_EXTENSIONS_MAX || at + 8 > packet->length)
			return false;
		if (next == IPV6_AUTHENTICATION) {
			size = ((size_t)header[1] + 2) * 4;
		} else if (next == IPV6_FRAGMENT) {
			if (get16(header + 2) & IPV6_FRAGMENT_OFFSET)
				return false;
			if (get16(header + 2) & IPV6_MORE_FRAGMENTS)
				packet->first_fragment = true;
			size = 8;
		} else {
			size = ((size_t)header[1] + 1) * 8;
		}
		next = header[0];
		at += size;
	}
	packet->protocol = next;
	packet->transport = at;
	return true;
}

bool packet_parse_ip(const uint8_t *frame, size_t length, size_t ip, uint8_t family,
		     struct packet *packet)
{
	struct packet p = {.frame = frame, .length = length, .ip = ip};

	if (family == 4 ? !parse_ipv4(&p) : !parse_ipv6(&p))
		return false;
	if (p.transport + PORTS > length)
		return false;
	p.source_port = get16(frame + p.transport);
	p.destination_port = get16(frame + p.transport + 2);
	*packet = p;
	return true;
}

bool packet_parse(const uint8_t *frame, size_t length, struct packet *packet)
{
	size_t ip = ETHERNET_HEADER;

	if (length < ip)
		return false;

	uint16_t type = get16(frame + ip - 2);

	for (int tags = 0; type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ; tags++) {
		if (tags == VLAN_TAGS_MAX || ip + VLAN_TAG > length)
			return false;
		type = get16(frame + ip + 2);
		ip += VLAN_TAG;
	}
	if (type != ETHERTYPE_IPV4 && type != ETHERTYPE_IPV6)
		return false;
	return packet_parse_ip(frame, length, ip, type == ETHERTYPE_IPV4 ? 4 : 6, packet);
}

struct tuple packet_tuple(const struct packet *packet)
{
	const uint8_t *ports = packet->frame + packet->transport;
	size_t address = packet->family == 4 ? 4 : 16;
	struct tuple tuple = {.family = packet->family};

	memcpy(tuple.source, packet->source, address);
	memcpy(tuple.destination, packet->destination, address);
	memcpy(tuple.source_port, ports, 2);
	memcpy(tuple.destination_port, ports + 2, 2);
	return tuple;
}

uint16_t checksum_update(uint16_t checksum, uint16_t from, uint16_t to)
{
	uint32_t sum = (uint16_t)~checksum + (uint32_t)(uint16_t)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

uint32_t checksum_add(uint32_t sum, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i += 2)
		sum += get16(bytes + i);
	return sum;
}

uint16_t checksum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}
