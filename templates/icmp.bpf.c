/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors about tracked flows. The quoted datagram shows the port that the other side never
 * used; it is put back, with the quoted checksum, so that the error reaches the socket it is about.
 */
#pragma once
#include "udp.bpf.c"
#include "written.bpf.h"

/* part: quote_ipv4 (needs: packet, parse_ipv4, icmp_header) */
/* Reads the packet that an ICMP error quotes (RFC 792). False: it is no error, or quotes no UDP. */
static __always_inline bool quote_ipv4(const struct packet *packet, struct packet *quote)
{
	const struct icmphdr *icmp = packet->transport;

	if (packet->protocol != IPPROTO_ICMP ||
	    (icmp->type != 3 && icmp->type != 11 && icmp->type != 12))
		return false;
	quote->ip = (void *)(icmp + 1);
	return parse_ipv4(quote) && quote->protocol == IPPROTO_UDP;
}

/* part: quote_ipv6 (needs: packet, parse_ipv6, icmp_header) */
/* As for IPv4 (RFC 4443). */
static __always_inline bool quote_ipv6(const struct packet *packet, struct packet *quote)
{
	const struct icmphdr *icmp = packet->transport;

	if (packet->protocol != IPPROTO_ICMPV6 || icmp->type < 1 || icmp->type > 4)
		return false;
	quote->ip = (void *)(icmp + 1);
	return parse_ipv6(quote) && quote->protocol == IPPROTO_UDP;
}

/* part: requote (needs: packet, skb, udp_header, checksum_update) */
/* Changes a port in the quoted UDP header, and the two checksums over it. */
static __always_inline void requote(struct __sk_buff *skb, const struct packet *packet,
				    const struct packet *quote, bool source, __be16 to)
{
	const struct udphdr *udp = quote->transport;
	__u64 icmp_check = packet->transport - packet->data + 2;
	__u64 start = quote->transport - packet->data;
	__be16 from = source ? quote->sport : quote->dport;
	__sum16 check, changed;

	if ((void *)(udp + 1) > packet->data_end)
		return;
	check = udp->check;
	changed = check ? checksum_update(check, from, to) ?: 0xffff : 0;
	bpf_skb_store_bytes(skb, start + (source ? 0 : 2), &to, sizeof(to), 0);
	bpf_l4_csum_replace(skb, icmp_check, from, to, sizeof(to));
	if (changed == check)
		return;
	bpf_skb_store_bytes(skb, start + 6, &changed, sizeof(changed), 0);
	bpf_l4_csum_replace(skb, icmp_check, check, changed, sizeof(changed));
}

/* part: turn_error_in (needs: flows, from_server, packet, quote, requote) */
/* An error about a reply: it left with the listen port as source, the server's socket is another.
 */
static __always_inline void turn_error_in(struct __sk_buff *skb, const struct packet *packet)
{
	struct packet quoted = *packet;
	struct flow_key key = {.direction = FLOW_TO_LISTEN};
	struct flow *flow;

	if (!quote(packet, &quoted))
		return;
	from_server(&quoted, quoted.sport, &key.tuple);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (flow)
		requote(skb, packet, &quoted, true, bpf_htons(flow->port));
}

/* part: turn_error_out (needs: flows, from_client, packet, quote, reply_ports, requote) */
/* An error about a message: the client sent it to the listen port. */
static __always_inline void turn_error_out(struct __sk_buff *skb, const struct packet *packet)
{
	struct packet quoted = *packet;
	struct flow_key key = {.direction = FLOW_TO_BACKEND};
	struct flow *flow;

	if (!quote(packet, &quoted) || get_reply_port(quoted.dport) != REPLIES_TRACKED)
		return;
	from_client(&quoted, quoted.dport, &key.tuple);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (flow)
		requote(skb, packet, &quoted, false, bpf_htons(flow->port));
}
