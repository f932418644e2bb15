/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Is the packet for this host? The host's own addresses are constants that the loader writes before
 * the verifier runs, so that the answer costs compares and no map look-up.
 */
#pragma once
#include "packet.bpf.c"

/* part: own_mac (needs: packet) */
const volatile __u16 mplex_mac[3]; /* the interface's Ethernet address; 0: not compared */

static __always_inline bool own_mac(const struct packet *packet)
{
	const __u16 *to = packet->data;

	if (!(mplex_mac[0] | mplex_mac[1] | mplex_mac[2]))
		return true;
	return to[0] == mplex_mac[0] && to[1] == mplex_mac[1] && to[2] == mplex_mac[2];
}

/* part: group_mac (needs: packet) */
/* Broadcast or multicast. */
static __always_inline bool group_mac(const struct packet *packet)
{
	return *(__u8 *)packet->data & 1;
}

/* part: local (needs: kernel) */
enum {
	LOCAL_MAX = 64,
	LOCAL_NEAR = 2, /* compared in place; the interface's own, which stand first */
};

const volatile __u8 mplex_local_known; /* 0: every address counts as the host's */

/* part: local_ipv4 (needs: local, packet, ipv4_header) */
const volatile __u32 mplex_local_v4_count;
const volatile __be32 mplex_local_v4[LOCAL_MAX];

/* A global function: the verifier walks its loop once, and not once for each way to it. */
__noinline int local_ipv4(__be32 address)
{
	for (__u32 i = 0; i < LOCAL_MAX && i < mplex_local_v4_count; i++)
		if (address == mplex_local_v4[i])
			return true;
	return !mplex_local_known;
}

/* A call and its return cost more than some compares, most of all where CPUs must not guess. */
static __always_inline bool is_local_ipv4(__be32 address)
{
	for (__u32 i = 0; i < LOCAL_NEAR && i < mplex_local_v4_count; i++)
		if (address == mplex_local_v4[i])
			return true;
	return mplex_local_v4_count > LOCAL_NEAR ? local_ipv4(address) : !mplex_local_known;
}

/* part: local_ipv6 (needs: local, packet, ipv6_header) */
const volatile __u32 mplex_local_v6_count;
const volatile __be32 mplex_local_v6[LOCAL_MAX][4];

/* As for IPv4. */
__noinline int local_ipv6(__be32 a, __be32 b, __be32 c, __be32 d)
{
	for (__u32 i = 0; i < LOCAL_MAX && i < mplex_local_v6_count; i++)
		if (d == mplex_local_v6[i][3] && c == mplex_local_v6[i][2] &&
		    b == mplex_local_v6[i][1] && a == mplex_local_v6[i][0])
			return true;
	return !mplex_local_known;
}

/* As for IPv4. */
static __always_inline bool is_local_ipv6(const __be32 *to)
{
	for (__u32 i = 0; i < LOCAL_NEAR && i < mplex_local_v6_count; i++)
		if (to[3] == mplex_local_v6[i][3] && to[2] == mplex_local_v6[i][2] &&
		    to[1] == mplex_local_v6[i][1] && to[0] == mplex_local_v6[i][0])
			return true;
	return mplex_local_v6_count > LOCAL_NEAR ? local_ipv6(to[0], to[1], to[2], to[3])
						 : !mplex_local_known;
}

/* part: is_martian_ipv4 (needs: packet, ipv4_header) */
/* A source that no packet from outside can have (RFC 1122, 3.2.1.3): nothing is sent there. */
static __always_inline bool is_martian_ipv4(const struct packet *packet)
{
	const struct iphdr *ip = packet->ip;
	__u32 from = bpf_ntohl(ip->saddr);

	return from >> 24 == 0 || from >> 24 == 127 || from >> 28 >= 14 || ip->saddr == ip->daddr;
}

/* part: is_martian_ipv6 (needs: packet, ipv6_header) */
/* A source that no packet from outside can have (RFC 4291): nothing is sent there. */
static __always_inline bool is_martian_ipv6(const struct packet *packet)
{
	const struct ipv6hdr *ip = packet->ip;
	const __be32 *from = ip->saddr, *to = ip->daddr;

	if (!(from[0] | from[1] | from[2]) && bpf_ntohl(from[3]) <= 1)
		return true; /* :: and ::1 */
	return bpf_ntohl(from[0]) >> 24 == 0xff ||
	       (from[0] == to[0] && from[1] == to[1] && from[2] == to[2] && from[3] == to[3]);
}
