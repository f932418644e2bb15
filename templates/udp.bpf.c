/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * UDP: each datagram is judged by itself and readdressed in place. Replies leave the server with
 * the backend port as source; what TC needs to turn them back is noted here.
 */
#pragma once
#include "packet.bpf.c"
#include "checksum.bpf.c"
#include "host.bpf.c"
#include "tuple.bpf.c"
#include "written.bpf.h"

/* part: parse_udp (needs: packet, udp_header, ip_length_holds) */
/* False when the lengths contradict each other. */
static __always_inline bool parse_udp(struct packet *packet)
{
	struct udphdr *udp = packet->transport;
	__u64 headers = packet->transport - packet->ip;
	__u32 length;

	if (!ip_length_holds(packet) || (void *)(udp + 1) > packet->data_end)
		return false;
	length = bpf_ntohs(udp->len);
	if (length < sizeof(*udp) || headers + length > packet->ip_length)
		return false;
	packet->payload = udp + 1;
	packet->payload_length = length - sizeof(*udp);
	return true;
}

/* part: readdress (needs: packet, udp_header, checksum_update) */
/* Gives a datagram another destination port. A checksum of 0 means none and stays. */
static __always_inline void readdress(const struct packet *packet, __u16 port)
{
	struct udphdr *udp = packet->transport;
	__be16 to = bpf_htons(port);

	if (udp->check)
		udp->check = checksum_update(udp->check, udp->dest, to) ?: 0xffff;
	udp->dest = to;
}

/* part: steer (needs: readdress) */
/*
 * Carries out a verdict without a branch on it: a refused datagram is given the port that it has
 * already, and dropped.
 */
static __always_inline int steer(const struct packet *packet, __u64 port)
{
	__u64 refused;

	barrier_var(port); /* or clang makes a branch of it */
	refused = (port - 1) >> 63;
	readdress(packet, port | (bpf_ntohs(packet->dport) & -refused));
	return XDP_PASS - refused;
}

/* part: reply_ports (needs: kernel, port_index) */
enum {
	REPLIES_TRACKED = 0x10000,
	BPF_F_MMAPABLE = 1 << 10,
};

/* Per backend port: 0, the listen port that its replies come from, or REPLIES_TRACKED. */
struct reply_ports {
	__u32 port[65536];
	__u64 flows_added; /* how often something was put into `flows` */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE); /* a loader can change one entry beside the programs */
	__type(key, __u32);
	__type(value, struct reply_ports);
} reply_ports SEC(".maps");

/* Written only when it changes, so that the CPUs can share the cache line. */
static __always_inline void set_reply_port(__u16 backend, __u32 port)
{
	struct reply_ports *replies = bpf_map_lookup_elem(&reply_ports, &(__u32){0});

	if (replies && replies->port[backend] != port)
		replies->port[backend] = port;
}

static __always_inline __u32 get_reply_port(__be16 backend)
{
	struct reply_ports *replies = bpf_map_lookup_elem(&reply_ports, &(__u32){0});

	return replies ? replies->port[port_index(backend)] : 0;
}

/* part: flows (needs: kernel, tuple) */
enum flow_direction {
	FLOW_TO_BACKEND, /* tuple with the backend port → listen port */
	FLOW_TO_LISTEN,	 /* tuple with the listen port → the backend port that answered last */
};

struct flow_key {
	struct bpf_sock_tuple tuple;
	__u32 direction; /* enum flow_direction */
};

struct flow {
	__u16 port;
	__u16 shared; /* FLOW_TO_BACKEND, 1: the client has others through this listen port */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* part: flow_added (needs: flows, reply_ports) */
/* To be called behind every addition to `flows`, which may have pushed another flow out. */
static __always_inline void flow_added(void)
{
	struct reply_ports *replies = bpf_map_lookup_elem(&reply_ports, &(__u32){0});

	if (replies)
		__sync_fetch_and_add(&replies->flows_added, 1);
}

/* part: recent_flows (needs: kernel, tuple) */
enum {
	RECENT_FLOWS_BITS = 10,
	RECENT_FLOWS = 1 << RECENT_FLOWS_BITS,
};

/* A flow that was in `flows` when so many had been added there. */
struct recent_flow {
	__u64 flows_added;
	__u64 ports;	    /* the client's, the backend's, the listen port; the version of IP */
	__u64 addresses[4]; /* source and destination; IPv4: the first word */
};

/* By a hash of the flow; the last one stays. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECENT_FLOWS);
	__type(key, __u32);
	__type(value, struct recent_flow);
} recent_flows SEC(".maps");

/* part: recent_flow_ipv4 (needs: recent_flows, packet, ipv4_header) */
static __always_inline __u64 fold_addresses_ipv4(const struct packet *packet)
{
	const struct iphdr *ip = packet->ip;

	return *(const __u64 *)&ip->saddr;
}

static __always_inline bool has_addresses_ipv4(const struct recent_flow *recent,
					       const struct packet *packet)
{
	return recent->addresses[0] == fold_addresses_ipv4(packet);
}

static __always_inline void copy_addresses_ipv4(struct recent_flow *recent,
						const struct packet *packet)
{
	recent->addresses[0] = fold_addresses_ipv4(packet);
}

/* part: recent_flow_ipv6 (needs: recent_flows, packet, ipv6_header) */
static __always_inline __u64 fold_addresses_ipv6(const struct packet *packet)
{
	const struct ipv6hdr *ip = packet->ip;
	const __u64 *words = (const __u64 *)ip->saddr;

	return words[0] ^ words[1] ^ words[2] ^ words[3];
}

static __always_inline bool has_addresses_ipv6(const struct recent_flow *recent,
					       const struct packet *packet)
{
	const struct ipv6hdr *ip = packet->ip;
	const __u64 *words = (const __u64 *)ip->saddr;

	return recent->addresses[0] == words[0] && recent->addresses[1] == words[1] &&
	       recent->addresses[2] == words[2] && recent->addresses[3] == words[3];
}

static __always_inline void copy_addresses_ipv6(struct recent_flow *recent,
						const struct packet *packet)
{
	const struct ipv6hdr *ip = packet->ip;

	__builtin_memcpy(recent->addresses, ip->saddr, sizeof(recent->addresses));
}

/* part: track (needs: flow_added, flows, reply_ports, packet, from_client, group_mac, recent_flow) */
/* A new flow: both its directions, and whether the client has others through this listen port. */
static __always_inline void add_flow(const struct packet *packet, __u16 backend)
{
	struct flow to_listen = {.port = bpf_ntohs(packet->dport)};
	struct flow to_backend = {.port = backend};
	struct flow_key key = {.direction = FLOW_TO_LISTEN};
	struct flow *last, *other;

	from_client(packet, packet->dport, &key.tuple);
	last = bpf_map_lookup_elem(&flows, &key);
	if (last && last->port != backend) {
		to_listen.shared = true;
		key.direction = FLOW_TO_BACKEND;
		from_client(packet, bpf_htons(last->port), &key.tuple);
		other = bpf_map_lookup_elem(&flows, &key);
		if (other)
			other->shared = true;
		key.direction = FLOW_TO_LISTEN;
		from_client(packet, packet->dport, &key.tuple);
	}
	bpf_map_update_elem(&flows, &key, &to_backend, 0);
	key.direction = FLOW_TO_BACKEND;
	from_client(packet, bpf_htons(backend), &key.tuple);
	bpf_map_update_elem(&flows, &key, &to_listen, 0);
	flow_added();
	set_reply_port(backend, REPLIES_TRACKED);
}

/* Adds a flow unless it is there. */
static __always_inline void keep_flow(const struct packet *packet, __u16 backend)
{
	struct flow_key key = {.direction = FLOW_TO_BACKEND};
	struct flow *known;

	from_client(packet, bpf_htons(backend), &key.tuple);
	known = bpf_map_lookup_elem(&flows, &key);
	if (!known || known->port != bpf_ntohs(packet->dport))
		add_flow(packet, backend);
}

/*
 * Notes whose replies to turn back. Looking into `flows` is dear, so a flow that this CPU saw there
 * is not looked up again until something is added: only that pushes flows out, and then the look-up
 * tells the map that this one is in use.
 */
static __always_inline void track(const struct packet *packet, __u16 backend)
{
	struct reply_ports *replies = bpf_map_lookup_elem(&reply_ports, &(__u32){0});
	__u64 ports = (__u64)packet->version << 48 | (__u64)packet->dport << 32 |
		      (__u32)packet->sport << 16 | backend;
	/* Multiply-shift: any odd number does. */
	__u32 index = (fold_addresses(packet) ^ ports) * 0x9e3779b97f4a7c15ULL >>
		      (64 - RECENT_FLOWS_BITS);
	struct recent_flow *recent = bpf_map_lookup_elem(&recent_flows, &index);
	__u64 added;

	if (!replies || !recent || group_mac(packet))
		return;
	added = replies->flows_added; /* before the look-up, which may be overtaken */
	if (recent->flows_added == added && recent->ports == ports && has_addresses(recent, packet))
		return;
	keep_flow(packet, backend);
	recent->flows_added = added;
	recent->ports = ports;
	copy_addresses(recent, packet);
}
