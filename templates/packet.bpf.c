/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading a frame, from the Ethernet header to the ports. Shared by XDP and TC: nothing here knows
 * which hook it serves. Every read is behind a check against the end of the frame's linear part.
 */
#pragma once
#include "kernel.bpf.c"

/* part: packet (needs: kernel) */
/* A frame as far as it has been read. Pointers are into its linear part. */
struct packet {
	void *context; /* of the program */
	void *data;
	void *data_end;
	void *ip;
	void *transport; /* TCP, UDP or ICMP header: its first four bytes are there */
	void *payload;
	__u32 payload_length;
	__u32 ip_length; /* from the IP header to the end of the packet, as the packet says */
	__u32 listener;
	__be16 sport;
	__be16 dport;
	__u8 version; /* of IP: 4 or 6 */
	__u8 protocol;
	bool tagged;   /* carries a VLAN tag */
	bool fragment; /* the first of several */
};

/* part: parse_ethernet (needs: packet) */
/* Reads the Ethernet header and up to two VLAN tags; gives the type of what follows. */
static __always_inline bool parse_ethernet(struct packet *packet, __be16 *type)
{
	struct ethhdr *ethernet = packet->data;
	struct vlan_hdr *vlan = (void *)(ethernet + 1);

	if ((void *)vlan > packet->data_end)
		return false;
	*type = ethernet->h_proto;
	for (int tags = 0; tags < 2; tags++) {
		if (*type != bpf_htons(ETH_P_8021Q) && *type != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > packet->data_end)
			return false;
		*type = vlan->h_vlan_encapsulated_proto;
		packet->tagged = true;
		vlan++;
	}
	packet->ip = vlan;
	return true;
}

/* part: parse_ports (needs: packet) */
static __always_inline bool parse_ports(struct packet *packet)
{
	__be16 *ports = packet->transport;

	if ((void *)(ports + 2) > packet->data_end)
		return false;
	packet->sport = ports[0];
	packet->dport = ports[1];
	return true;
}

/* part: parse_ipv4 (needs: packet, ipv4_header, parse_ports) */
/* Reads an IPv4 header. False for a later fragment: it has no ports. */
static __always_inline bool parse_ipv4(struct packet *packet)
{
	struct iphdr *ip = packet->ip;

	if ((void *)(ip + 1) > packet->data_end)
		return false;
	if (ip->version_ihl >> 4 != 4 || (ip->version_ihl & 0xf) < 5)
		return false;
	if (ip->frag_off & bpf_htons(IP_OFFSET))
		return false;
	packet->version = 4;
	packet->protocol = ip->protocol;
	packet->fragment = ip->frag_off & bpf_htons(IP_MF);
	packet->ip_length = bpf_ntohs(ip->tot_len);
	packet->transport = (void *)ip + (ip->version_ihl & 0xf) * 4;
	return parse_ports(packet);
}

/* part: parse_ipv6 (needs: packet, ipv6_header, parse_ports) */
/* Steps over one extension header: 1 if it did, 0 if there is none, -1 if the packet is not ours. */
static __always_inline int skip_extension(struct packet *packet)
{
	struct ipv6_opt_hdr *extension = packet->transport;
	__u32 length;

	switch (packet->protocol) {
	case NEXTHDR_HOP:
	case NEXTHDR_ROUTING:
	case NEXTHDR_FRAGMENT:
	case NEXTHDR_AUTH:
	case NEXTHDR_DEST:
	case NEXTHDR_MOBILITY:
	case NEXTHDR_HIP:
	case NEXTHDR_SHIM6:
		break;
	default:
		return 0;
	}
	if ((void *)(extension + 1) > packet->data_end)
		return -1;
	length = (extension->hdrlen + 1) * 8;
	if (packet->protocol == NEXTHDR_AUTH)
		length = (extension->hdrlen + 2) * 4;
	if (packet->protocol == NEXTHDR_FRAGMENT) {
		if (extension->frag_off & bpf_htons(IP6_OFFSET))
			return -1; /* a later fragment: it has no ports */
		if (extension->frag_off & bpf_htons(IP6_MF))
			packet->fragment = true;
		length = 8;
	}
	packet->protocol = extension->nexthdr;
	packet->transport += length;
	return 1;
}

/* Reads an IPv6 header and up to eight extension headers. False for a later fragment. */
static __always_inline bool parse_ipv6(struct packet *packet)
{
	struct ipv6hdr *ip = packet->ip;
	int more = 1;

	if ((void *)(ip + 1) > packet->data_end)
		return false;
	if (*(__u8 *)ip >> 4 != 6)
		return false;
	packet->version = 6;
	packet->protocol = ip->nexthdr;
	packet->ip_length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	packet->transport = ip + 1;
	for (int headers = 0; headers < 9 && more == 1; headers++)
		more = skip_extension(packet);
	return more == 0 && parse_ports(packet);
}

/* part: ip_length_holds (needs: packet) */
const volatile __u8 mplex_linear; /* 1: no frame has fragments (Linux before 5.18) */

/*
 * Whether all of the IP packet is in the frame. Ethernet pads, so the frame may be longer; a frame
 * of several buffers continues behind its linear part.
 */
static __always_inline bool ip_length_holds(const struct packet *packet)
{
	__u64 start = packet->ip - packet->data;

	if (packet->ip + packet->ip_length <= packet->data_end)
		return true;
	return !mplex_linear &&
	       start + packet->ip_length <= bpf_xdp_get_buff_len(packet->context);
}

/* part: payload_bytes (needs: packet, ip_length_holds) */
/* Payload bytes that may lie behind the linear part of the frame: there, or else copied. */
static __always_inline const __u8 *payload_bytes(const struct packet *packet, __u32 offset,
						 __u8 *copy, __u32 length)
{
	const __u8 *bytes = packet->payload + offset;

	if ((void *)bytes + length <= packet->data_end)
		return bytes;
	if (mplex_linear || bpf_xdp_load_bytes(packet->context, (void *)bytes - packet->data, copy,
					       length))
		return 0;
	return copy;
}
