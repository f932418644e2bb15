/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex_egress, in TC: gives UDP replies the listen port as source. It carries no rules: what it
 * does stands in `reply_ports` and `flows`.
 */
#pragma once
#include "icmp.bpf.c"

/* part: turn_reply (needs: packet, skb, udp_header) */
/* Gives a reply the listen port as source. */
static __always_inline void turn_reply(struct __sk_buff *skb, const struct packet *packet,
				       __u16 listen_port)
{
	__u64 start = packet->transport - packet->data;
	__be16 from = packet->sport, to = bpf_htons(listen_port);

	bpf_skb_store_bytes(skb, start, &to, sizeof(to), 0);
	bpf_l4_csum_replace(skb, start + 6, from, to, BPF_F_MARK_MANGLED_0 | sizeof(to));
}

/* part: tracked_port (needs: flow_added, flows, from_server, packet) */
/* The listen port that the client of a reply wrote to; 0: it wrote to the backend port itself. */
static __always_inline __u16 tracked_port(const struct packet *packet)
{
	struct flow to_backend = {.port = bpf_ntohs(packet->sport)};
	struct flow_key key = {.direction = FLOW_TO_BACKEND};
	struct flow *flow, *last;
	__u16 listen_port;

	from_server(packet, packet->sport, &key.tuple);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || !flow->shared)
		return flow ? flow->port : 0;
	listen_port = flow->port;
	/* Several servers answer this client: the next ICMP error is about the last reply. */
	key.direction = FLOW_TO_LISTEN;
	from_server(packet, bpf_htons(listen_port), &key.tuple);
	last = bpf_map_lookup_elem(&flows, &key);
	if (last) {
		last->port = to_backend.port;
	} else {
		bpf_map_update_elem(&flows, &key, &to_backend, 0);
		flow_added();
	}
	return listen_port;
}
