/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading a frame, from the Ethernet header to the ports. Shared by XDP and TC: nothing here knows
 * which hook it serves. Every read is behind a check against the end of the frame's linear part.
 */
#pragma once
#include "kernel.bpf.c"
#include "written.bpf.h"

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
	bool fragment; /* the first of several */
	bool tc;       /* context is a struct __sk_buff, not a struct xdp_md */
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
		vlan++;
	}
	packet->ip = vlan;
	return true;
}

/* part: is_tagged (needs: packet) */
/* Whether a packet carries a VLAN tag. */
static __always_inline bool is_tagged(const struct packet *packet)
{
	return packet->ip - packet->data > (long)sizeof(struct ethhdr);
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

/* part: unknown (needs: packet) */
/*
 * A number as it is, but the verifier no longer knows that it is one of a few: so it walks what
 * follows once, and not once for each of them.
 */
static __always_inline __u32 unknown(const struct packet *packet, __u32 number)
{
	__u32 noise = packet->sport;

	number ^= noise;
	barrier_var(number);
	return number ^ noise;
}

/* part: port_index (needs: kernel) */
/* A port as an index. The verifier of older kernels sees no bound in what ntohs returns. */
static __always_inline __u32 port_index(__be16 port)
{
	__u32 index = bpf_ntohs(port);

	barrier_var(index);
	return index & 0xffff;
}

/* part: parse_ipv4 (needs: packet, ipv4_header, parse_ports) */
/* Reads an IPv4 header. False for a later fragment: it has no ports. */
static __always_inline bool parse_ipv4(struct packet *packet)
{
	struct iphdr *ip = packet->ip;

	if ((void *)(ip + 1) > packet->data_end)
		return false;
	if (ip->version_ihl < 0x45 || ip->version_ihl > 0x4f) /* version 4, at least five words */
		return false;
	if (ip->frag_off & bpf_htons(IP_OFFSET))
		return false;
	packet->version = 4;
	packet->protocol = ip->protocol;
	packet->transport = (void *)ip + (ip->version_ihl & 0xf) * 4;
	return parse_ports(packet);
}

/* part: parse_rest_ipv4 (needs: packet, ipv4_header) */
/* What does not tell whose packet it is, and so is read only once it is known to be ours. */
static __always_inline void parse_rest_ipv4(struct packet *packet)
{
	const struct iphdr *ip = packet->ip;

	packet->fragment = ip->frag_off & bpf_htons(IP_MF);
	packet->ip_length = bpf_ntohs(ip->tot_len);
}

/* part: skip_extensions (needs: kernel, ipv6_header) */
enum {
	EXTENSIONS_MAX = 8,
	TRANSPORT_OFFSET = 0x7fff, /* in the frame; eight headers reach half as far */
	TRANSPORT_PROTOCOL_SHIFT = 16,
	TRANSPORT_FRAGMENT = 1 << 24, /* the first of several */
	TRANSPORT_NONE = 1 << 25,
};

static __always_inline bool is_extension(__u8 protocol)
{
	switch (protocol) {
	case NEXTHDR_HOP:
	case NEXTHDR_ROUTING:
	case NEXTHDR_FRAGMENT:
	case NEXTHDR_AUTH:
	case NEXTHDR_DEST:
	case NEXTHDR_MOBILITY:
	case NEXTHDR_HIP:
	case NEXTHDR_SHIM6:
		return true;
	default:
		return false;
	}
}

/*
 * Steps over IPv6 extension headers from an offset into the frame; gives offset, protocol and flags
 * of what follows. TRANSPORT_NONE: too many, a later fragment, or the frame ends before.
 */
static __always_inline __u32 skip_extensions(void *data, void *data_end, __u64 offset,
					     __u8 protocol)
{
	__u32 flags = 0;

	for (int headers = 0; headers < EXTENSIONS_MAX; headers++) {
		struct ipv6_opt_hdr *extension = data + (offset & TRANSPORT_OFFSET);

		if (!is_extension(protocol))
			break;
		if ((void *)(extension + 1) > data_end)
			return TRANSPORT_NONE;
		if (protocol == NEXTHDR_AUTH) {
			offset += (extension->hdrlen + 2) * 4;
		} else if (protocol == NEXTHDR_FRAGMENT) {
			if (extension->frag_off & bpf_htons(IP6_OFFSET))
				return TRANSPORT_NONE;
			if (extension->frag_off & bpf_htons(IP6_MF))
				flags = TRANSPORT_FRAGMENT;
			offset += 8;
		} else {
			offset += (extension->hdrlen + 1) * 8;
		}
		protocol = extension->nexthdr;
	}
	return is_extension(protocol) ? TRANSPORT_NONE
				      : offset | protocol << TRANSPORT_PROTOCOL_SHIFT | flags;
}

/* part: parse_ipv6 (needs: packet, ipv6_header, parse_ports, extensions) */
/* Reads an IPv6 header and up to eight extension headers. False for a later fragment. */
static __always_inline bool parse_ipv6(struct packet *packet)
{
	struct ipv6hdr *ip = packet->ip;
	__u32 transport;

	if ((void *)(ip + 1) > packet->data_end || *(__u8 *)ip >> 4 != 6)
		return false;
	packet->version = 6;
	packet->protocol = ip->nexthdr;
	packet->transport = ip + 1;
	if (is_extension(ip->nexthdr)) {
		transport = extensions(packet, (void *)(ip + 1) - packet->data, ip->nexthdr);
		if (transport & TRANSPORT_NONE)
			return false;
		packet->transport = packet->data + (transport & TRANSPORT_OFFSET);
		packet->protocol = transport >> TRANSPORT_PROTOCOL_SHIFT;
		packet->fragment = transport & TRANSPORT_FRAGMENT;
	}
	return parse_ports(packet);
}

/* part: parse_rest_ipv6 (needs: packet, ipv6_header) */
/* What does not tell whose packet it is, and so is read only once it is known to be ours. */
static __always_inline void parse_rest_ipv6(struct packet *packet)
{
	const struct ipv6hdr *ip = packet->ip;

	packet->ip_length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
}

/* part: extensions_xdp (needs: skip_extensions) */
/* A global function: the verifier walks it once, and not once per number of headers. */
__noinline __u32 extensions_xdp(struct xdp_md *xdp, __u64 offset, __u32 protocol)
{
	return skip_extensions((void *)(long)xdp->data, (void *)(long)xdp->data_end, offset,
			       protocol);
}

/* part: extensions_tc (needs: skip_extensions, skb) */
__noinline __u32 extensions_tc(struct __sk_buff *skb, __u64 offset, __u32 protocol)
{
	return skip_extensions((void *)(long)skb->data, (void *)(long)skb->data_end, offset,
			       protocol);
}

/* part: ip_length_holds (needs: packet) */
const volatile __u8 mplex_linear; /* 1: every frame is in one buffer */

/*
 * Whether all of the IP packet is in the frame. Ethernet pads, so the frame may be longer; a frame
 * of several buffers continues behind its linear part.
 */
static __always_inline bool ip_length_holds(const struct packet *packet)
{
	__u64 end = packet->ip - packet->data + packet->ip_length;

	if (end <= (__u64)(packet->data_end - packet->data))
		return true;
	return !mplex_linear && end <= bpf_xdp_get_buff_len(packet->context);
}

/* part: payload_bytes (needs: packet, ip_length_holds) */
enum {
	POINTER_REACH = 16384, /* the verifier follows no pointer further than 65535 into a frame */
};

/* Payload bytes that may lie behind the linear part of the frame: there, or else copied. */
static __always_inline const __u8 *payload_bytes(const struct packet *packet, __u32 offset,
						 __u8 *copy, __u32 length)
{
	const __u8 *bytes = packet->payload + offset;

	if (offset < POINTER_REACH && (void *)bytes + length <= packet->data_end)
		return bytes;
	if (mplex_linear ||
	    bpf_xdp_load_bytes(packet->context, (void *)bytes - packet->data, copy, length))
		return 0;
	return copy;
}
