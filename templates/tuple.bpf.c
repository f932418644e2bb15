/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Tuples. They always read as the host sees the peer: source is the client, destination the server,
 * whichever way the packet goes. IPv4 uses the first 12 bytes and leaves the rest 0, so that both
 * families share one map; no IPv6 tuple looks like that, its ports are not 0.
 */
#pragma once
#include "packet.bpf.c"

/* part: from_client_ipv4 (needs: packet, tuple, ipv4_header) */
static __always_inline void from_client_ipv4(const struct packet *packet, __be16 server_port,
					     struct bpf_sock_tuple *tuple)
{
	const struct iphdr *ip = packet->ip;

	tuple->ipv4.saddr = ip->saddr;
	tuple->ipv4.daddr = ip->daddr;
	tuple->ipv4.sport = packet->sport;
	tuple->ipv4.dport = server_port;
}

/* part: from_client_ipv6 (needs: packet, tuple, ipv6_header) */
static __always_inline void from_client_ipv6(const struct packet *packet, __be16 server_port,
					     struct bpf_sock_tuple *tuple)
{
	const struct ipv6hdr *ip = packet->ip;

	__builtin_memcpy(tuple->ipv6.saddr, ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(tuple->ipv6.daddr, ip->daddr, sizeof(ip->daddr));
	tuple->ipv6.sport = packet->sport;
	tuple->ipv6.dport = server_port;
}

/* part: from_server_ipv4 (needs: packet, tuple, ipv4_header) */
static __always_inline void from_server_ipv4(const struct packet *packet, __be16 server_port,
					     struct bpf_sock_tuple *tuple)
{
	const struct iphdr *ip = packet->ip;

	tuple->ipv4.saddr = ip->daddr;
	tuple->ipv4.daddr = ip->saddr;
	tuple->ipv4.sport = packet->dport;
	tuple->ipv4.dport = server_port;
}

/* part: from_server_ipv6 (needs: packet, tuple, ipv6_header) */
static __always_inline void from_server_ipv6(const struct packet *packet, __be16 server_port,
					     struct bpf_sock_tuple *tuple)
{
	const struct ipv6hdr *ip = packet->ip;

	__builtin_memcpy(tuple->ipv6.saddr, ip->daddr, sizeof(ip->daddr));
	__builtin_memcpy(tuple->ipv6.daddr, ip->saddr, sizeof(ip->saddr));
	tuple->ipv6.sport = packet->dport;
	tuple->ipv6.dport = server_port;
}

/* part: listener_tuple_ipv4 (needs: tuple) */
/* Makes a connection's tuple that of a listener: source port 0 matches no connection. */
static __always_inline void listener_tuple_ipv4(__u16 port, struct bpf_sock_tuple *tuple)
{
	tuple->ipv4.sport = 0;
	tuple->ipv4.dport = bpf_htons(port);
}

/* part: listener_tuple_ipv6 (needs: tuple) */
/* Makes a connection's tuple that of a listener: source port 0 matches no connection. */
static __always_inline void listener_tuple_ipv6(__u16 port, struct bpf_sock_tuple *tuple)
{
	tuple->ipv6.sport = 0;
	tuple->ipv6.dport = bpf_htons(port);
}

/* part: address_sum_ipv4 (needs: tuple) */
/* The addresses' share of a pseudo-header's checksum. */
static __always_inline __u64 address_sum_ipv4(const struct bpf_sock_tuple *tuple)
{
	return (__u64)tuple->ipv4.saddr + tuple->ipv4.daddr;
}

/* part: address_sum_ipv6 (needs: tuple) */
/* The addresses' share of a pseudo-header's checksum. */
static __always_inline __u64 address_sum_ipv6(const struct bpf_sock_tuple *tuple)
{
	__u64 sum = 0;

	for (int i = 0; i < 4; i++)
		sum += (__u64)tuple->ipv6.saddr[i] + tuple->ipv6.daddr[i];
	return sum;
}
