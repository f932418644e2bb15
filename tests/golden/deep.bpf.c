// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Made by mplexc 0.1.0 from deep.yaml. To change it, change the rules.
 * SHA-256 of the rules: 091d9b06d834da9e54a73907bd365e6903d100cf9cf1172a606fc2044cf61d96
 *
 * deep: udp port 4000, messages of 2000 to 9000 bytes, 9 routes by the 2 bytes at 1500
 *
 * Read it from the end: the programs stand last, each function behind what it calls.
 */

typedef _Bool bool;
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u16 __sum16;
typedef __u32 __wsum;

enum {
	false,
	true,
};

enum bpf_map_type {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

enum xdp_action {
	XDP_DROP = 1,
	XDP_PASS = 2,
	XDP_TX = 3,
};

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
};

enum {
	ETH_P_IP = 0x0800,
	ETH_P_8021Q = 0x8100,
	ETH_P_IPV6 = 0x86dd,
	ETH_P_8021AD = 0x88a8,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ICMPV6 = 58,
};

struct ethhdr {
	__u8 h_dest[6];
	__u8 h_source[6];
	__be16 h_proto;
};

struct vlan_hdr {
	__be16 h_vlan_TCI;
	__be16 h_vlan_encapsulated_proto;
};

/* What became of a packet of ours; docs/object.md says more. */
enum reason {
	REASON_ROUTED,
	REASON_TAG,
	REASON_LENGTH,
	REASON_REQUIRE,
	REASON_MALFORMED,
	REASON_FRAGMENT,
	REASONS,
};

enum listener {
	DEEP_LISTENER,
};

enum {
	DEEP_PORT = 4000,
	DEEP_LENGTH_MIN = 2000, /* payload bytes of a message */
	DEEP_LENGTH_MAX = 9000,
	DEEP_TAG_OFFSET = 1500,
	DEEP_ROUTES = 6, /* from REASON_ROUTED's counter to its first route's */
	COUNTERS = 15,
};

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

struct iphdr {
	__u8 version_ihl;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 saddr;
	__be32 daddr;
};

enum {
	IP_DF = 0x4000,
	IP_MF = 0x2000,
	IP_OFFSET = 0x1fff,
};

static __always_inline bool parse_ports(struct packet *packet)
{
	__be16 *ports = packet->transport;

	if ((void *)(ports + 2) > packet->data_end)
		return false;
	packet->sport = ports[0];
	packet->dport = ports[1];
	return true;
}

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

struct ipv6hdr {
	__be32 flow; /* version, traffic class, flow label */
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	__be32 saddr[4];
	__be32 daddr[4];
};

/* The start of every extension header but ESP. */
struct ipv6_opt_hdr {
	__u8 nexthdr;
	__u8 hdrlen;
	__be16 frag_off; /* of a fragment header */
};

enum {
	NEXTHDR_HOP = 0,
	NEXTHDR_ROUTING = 43,
	NEXTHDR_FRAGMENT = 44,
	NEXTHDR_AUTH = 51,
	NEXTHDR_DEST = 60,
	NEXTHDR_MOBILITY = 135,
	NEXTHDR_HIP = 139,
	NEXTHDR_SHIM6 = 140,
	IP6_MF = 0x0001,
	IP6_OFFSET = 0xfff8,
};

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

/* A global function: the verifier walks it once, and not once per number of headers. */
__noinline __u32 extensions_xdp(struct xdp_md *xdp, __u64 offset, __u32 protocol)
{
	return skip_extensions((void *)(long)xdp->data, (void *)(long)xdp->data_end, offset,
			       protocol);
}

enum {
	TC_ACT_UNSPEC = -1,
	TC_ACT_SHOT = 2,
	BPF_F_MARK_MANGLED_0 =
		1 << 5, /* a UDP checksum: 0 means none, a computed 0 is written 0xffff */
};

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
};

__noinline __u32 extensions_tc(struct __sk_buff *skb, __u64 offset, __u32 protocol)
{
	return skip_extensions((void *)(long)skb->data, (void *)(long)skb->data_end, offset,
			       protocol);
}

static __always_inline __u32 extensions(const struct packet *packet, __u64 offset,
					__u32 protocol)
{
	if (packet->tc)
		return extensions_tc(packet->context, offset, protocol);
	return extensions_xdp(packet->context, offset, protocol);
}

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

/* Reads the frame up to the ports. False: it is not IP, or ends before them. */
static __always_inline bool parse(struct packet *packet)
{
	__be16 type;

	if (!parse_ethernet(packet, &type))
		return false;
	if (type == bpf_htons(ETH_P_IP))
		return parse_ipv4(packet);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(packet);
	return false;
}

/* What does not tell whose packet it is, and so is read only once it is known to be ours. */
static __always_inline void parse_rest_ipv4(struct packet *packet)
{
	const struct iphdr *ip = packet->ip;

	packet->fragment = ip->frag_off & bpf_htons(IP_MF);
	packet->ip_length = bpf_ntohs(ip->tot_len);
}

/* What does not tell whose packet it is, and so is read only once it is known to be ours. */
static __always_inline void parse_rest_ipv6(struct packet *packet)
{
	const struct ipv6hdr *ip = packet->ip;

	packet->ip_length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
}

static __always_inline void parse_rest(struct packet *packet)
{
	if (packet->version == 4)
		parse_rest_ipv4(packet);
	else
		parse_rest_ipv6(packet);
}

const volatile __u16 mplex_mac[3]; /* the interface's Ethernet address; 0: not compared */

static __always_inline bool own_mac(const struct packet *packet)
{
	const __u16 *to = packet->data;

	if (!(mplex_mac[0] | mplex_mac[1] | mplex_mac[2]))
		return true;
	return to[0] == mplex_mac[0] && to[1] == mplex_mac[1] && to[2] == mplex_mac[2];
}

/* Broadcast or multicast. */
static __always_inline bool group_mac(const struct packet *packet)
{
	return *(__u8 *)packet->data & 1;
}

enum {
	LOCAL_MAX = 64,
	LOCAL_NEAR = 2, /* compared in place; the interface's own, which stand first */
};

const volatile __u8 mplex_local_known; /* 0: every address counts as the host's */

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

/* To this interface; a UDP datagram may also be to a group. */
static __always_inline bool addressed_to_interface(const struct packet *packet)
{
	return own_mac(packet) || group_mac(packet);
}

static __always_inline bool addressed_to_host(const struct packet *packet)
{
	const struct iphdr *ipv4 = packet->ip;
	const struct ipv6hdr *ipv6 = packet->ip;

	if (packet->version == 4)
		return is_local_ipv4(ipv4->daddr);
	return is_local_ipv6(ipv6->daddr);
}

/* Whose packet it is. False: not ours. The port first, it tells most packets. */
static __always_inline bool find_listener(struct packet *packet)
{
	packet->listener = DEEP_LISTENER;
	return packet->dport == bpf_htons(DEEP_PORT) &&
	       packet->protocol == IPPROTO_UDP &&
	       addressed_to_host(packet) &&
	       addressed_to_interface(packet);
}

struct udphdr {
	__be16 source;
	__be16 dest;
	__be16 len;
	__sum16 check;
};

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

/* What the rules say of a message. */
struct verdict {
	__u32 reason;
	__u32 counter; /* where routes are counted: how far the route's is behind the reason's */
	__u16 port;    /* to this local port; 0: refused */
	bool reset;    /* refuse a TCP client by RST */
};

/* Bytes of a message as a number, the first byte the most significant. */
static __always_inline __u64 load_u16(const __u8 *at)
{
	return bpf_ntohs(*(const __be16 *)at);
}

/* Bytes of a message as a number, the first byte the most significant. */
static __always_inline __u64 load_u64(const __u8 *at)
{
	return bpf_be64_to_cpu(*(const __u64 *)at);
}

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

enum { DEEP_SLOTS = 16 };

/* Every tag is in the one slot that its hash names. */
static const struct {
	__u32 tag;
	__u16 port;
	__u16 route;
} slots_deep[DEEP_SLOTS] SEC(".rodata") = {
	[0] = { 1, 0, 0 }, /* no route: zeros here would be found as a tag */
	[2] = { 800, 4008, 7 }, /* 800 */
	[3] = { 3, 4003, 2 }, /* 3 */
	[6] = { 1, 4001, 0 }, /* 1 */
	[8] = { 700, 4007, 6 }, /* 700 */
	[9] = { 4, 4004, 3 }, /* 4 */
	[12] = { 2, 4002, 1 }, /* 2 */
	[13] = { 900, 4009, 8 }, /* 900 */
	[14] = { 600, 4006, 5 }, /* 600 */
	[15] = { 5, 4005, 4 }, /* 5 */
};

static __always_inline bool route_deep(const __u8 *tag, struct verdict *verdict)
{
	__u64 word = load_u16(tag);
	__u64 hash;
	__u64 slot;

	hash = word * 0x657eecdd3cb13d09ULL;
	slot = hash >> 60;
	if (slots_deep[slot].tag == word) {
		verdict->port = slots_deep[slot].port;
		verdict->counter = DEEP_ROUTES + slots_deep[slot].route;
		return true;
	}
	return false;
}

static __always_inline void judge_deep(const struct packet *packet, struct verdict *verdict)
{
	const __u8 *bytes;
	__u8 copy[32];

	verdict->reason = REASON_LENGTH;
	if (packet->payload_length < DEEP_LENGTH_MIN ||
	    packet->payload_length > DEEP_LENGTH_MAX)
		return;
	verdict->reason = REASON_MALFORMED; /* longer than its frame */
	verdict->reason = REASON_REQUIRE;
	bytes = payload_bytes(packet, 1020, copy, 8);
	if (!bytes)
		return;
	if (load_u64(bytes) != 0x0102030405060708ULL)
		return;
	bytes = payload_bytes(packet, DEEP_TAG_OFFSET, copy, 2);
	if (!bytes)
		return;
	verdict->port = DEEP_PORT; /* otherwise */
	verdict->reason = REASON_TAG;
	if (route_deep(bytes, verdict))
		verdict->reason = REASON_ROUTED;
}


/* What the rules say of a UDP datagram. */
static __always_inline void datagram_verdict(const struct packet *packet, struct verdict *verdict)
{
	judge_deep(packet, verdict);
}

enum {
	LISTENERS_MAX = 64,
	CAPTURE_HAND_OVER = 32, /* the bit of the first outcome of a hand-over in `wanted` */
	CAPTURE_BURST = 1000 * 1000 * 1000, /* ns: this long a CPU may save up samples */
	BPF_F_CURRENT_CPU = 0xffffffff,
	CAPTURED_SHIFT = 32, /* of the packet's bytes in bpf_perf_event_output's flags */
};

/* Written by who captures. */
struct capture {
	__u64 until;	/* CLOCK_MONOTONIC, ns; kept in the future. 0: nobody captures */
	__u64 interval; /* ns between two samples of a CPU */
	__u64 snaplen;
	__u64 wanted[LISTENERS_MAX]; /* by listener: a bit for each reason */
} capture;

/* What a sample begins with; bytes of the packet follow. */
struct capture_sample {
	__u64 time;	  /* CLOCK_MONOTONIC, ns */
	__u32 index;	  /* of the counter: in `counters`, or in `ingress_counters` */
	__u32 hand_over;  /* 1: in the latter */
	__u32 length;	  /* of the packet */
	__u32 captured;	  /* bytes of it that follow */
	__u32 vlan_proto; /* of a tag that the kernel took out of the packet; 0: none */
	__u32 vlan_tci;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} capture_samples SEC(".maps");

/* How a CPU samples: a token bucket, kept as a time. */
struct capture_sampling {
	__u64 next;    /* no sample before; CLOCK_MONOTONIC, ns */
	__u64 skipped; /* packets: the samples were used up */
	__u64 lost;    /* packets: the buffer was full */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_sampling);
} capture_sampling SEC(".maps");

/* Whether to sample a packet; if so, *sampling is where to say that it was lost. */
static __always_inline bool take_sample(__u32 listener, __u32 bit, __u64 now,
					struct capture_sampling **out)
{
	struct capture_sampling *sampling = bpf_map_lookup_elem(&capture_sampling, &(__u32){0});

	if (now > capture.until) { /* who captured was killed */
		capture.until = 0;
		return false;
	}
	if (!sampling || !(capture.wanted[listener % LISTENERS_MAX] >> bit & 1))
		return false;
	if (sampling->next + CAPTURE_BURST < now)
		sampling->next = now - CAPTURE_BURST;
	if (sampling->next > now) {
		sampling->skipped++;
		return false;
	}
	sampling->next += capture.interval;
	*out = sampling;
	return true;
}

static __always_inline __u32 cut_sample(__u32 length)
{
	return length < capture.snaplen ? length : capture.snaplen;
}

static __always_inline __u32 counter_index(const struct packet *packet,
					   const struct verdict *verdict)
{
	return packet->listener * REASONS + verdict->reason + verdict->counter;
}

__noinline int capture_xdp(struct xdp_md *xdp, __u32 listener, __u32 reason, __u32 index)
{
	struct capture_sample sample = {.time = bpf_ktime_get_ns(), .index = index};
	struct capture_sampling *sampling;

	if (!take_sample(listener, reason, sample.time, &sampling))
		return 0;
	sample.length = mplex_linear ? xdp->data_end - xdp->data : bpf_xdp_get_buff_len(xdp);
	sample.captured = cut_sample(sample.length);
	if (bpf_perf_event_output(xdp, &capture_samples,
				  (__u64)sample.captured << CAPTURED_SHIFT | BPF_F_CURRENT_CPU,
				  &sample, sizeof(sample)))
		sampling->lost++;
	return 0;
}

/* Stands before anything that changes the frame. */
static __always_inline void capture_packet(const struct packet *packet,
					   const struct verdict *verdict)
{
	if (capture.until)
		capture_xdp(packet->context, packet->listener, verdict->reason,
			    counter_index(packet, verdict));
}

const volatile __u8 mplex_observe; /* 1: every verdict is counted, none is carried out */

/* The checksum after a 16-bit word has changed (RFC 1624, equation 3). */
static __always_inline __sum16 checksum_update(__sum16 check, __be16 from, __be16 to)
{
	__u32 sum = (__u16)~check + (__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return ~sum;
}

/* Gives a datagram another destination port. A checksum of 0 means none and stays. */
static __always_inline void readdress(const struct packet *packet, __u16 port)
{
	struct udphdr *udp = packet->transport;
	__be16 to = bpf_htons(port);

	if (udp->check)
		udp->check = checksum_update(udp->check, udp->dest, to) ?: 0xffff;
	udp->dest = to;
}

/* A port as an index. The verifier of older kernels sees no bound in what ntohs returns. */
static __always_inline __u32 port_index(__be16 port)
{
	__u32 index = bpf_ntohs(port);

	barrier_var(index);
	return index & 0xffff;
}

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

/* A UDP datagram to a listen port. */
static __always_inline int receive_udp(struct packet *packet, struct verdict *verdict)
{
	datagram_verdict(packet, verdict);
	capture_packet(packet, verdict);
	if (mplex_observe)
		return XDP_PASS;
	if (!verdict->port)
		return XDP_DROP;
	if (verdict->port == bpf_ntohs(packet->dport))
		return XDP_PASS;
	set_reply_port(verdict->port, bpf_ntohs(packet->dport));
	readdress(packet, verdict->port);
	return XDP_PASS;
}

/* From here on the packet is ours: whatever is wrong with it is refused. */
static __always_inline int receive(struct packet *packet, struct verdict *verdict)
{
	verdict->reason = REASON_FRAGMENT;
	if (!packet->fragment) {
		verdict->reason = REASON_MALFORMED;
		if (parse_udp(packet))
			return receive_udp(packet, verdict);
	}
	capture_packet(packet, verdict);
	return mplex_observe ? XDP_PASS : XDP_DROP;
}

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

static __always_inline void count(const struct packet *packet, const struct verdict *verdict)
{
	__u32 index = counter_index(packet, verdict);
	struct counter *counter = bpf_map_lookup_elem(&counters, &index);

	if (counter) {
		counter->packets++;
		counter->bytes += packet->ip_length;
	}
}

/* Not ours: passed as it is. Ours: judged, steered, answered or refused, and counted. */
SEC("xdp.frags")
int mplex_xdp(struct xdp_md *xdp)
{
	struct packet packet = {
		.context = xdp,
		.data = (void *)(long)xdp->data,
		.data_end = (void *)(long)xdp->data_end,
	};
	struct verdict verdict = {};
	int action;

	if (!parse(&packet) || !find_listener(&packet))
		return XDP_PASS;
	parse_rest(&packet);
	action = receive(&packet, &verdict);
	count(&packet, &verdict);
	return action;
}

/* Gives a reply the listen port as source. */
static __always_inline void turn_reply(struct __sk_buff *skb, const struct packet *packet,
				       __u16 listen_port)
{
	__u64 start = packet->transport - packet->data;
	__be16 from = packet->sport, to = bpf_htons(listen_port);

	bpf_skb_store_bytes(skb, start, &to, sizeof(to), 0);
	bpf_l4_csum_replace(skb, start + 6, from, to, BPF_F_MARK_MANGLED_0 | sizeof(to));
}

SEC("tc")
int mplex_egress(struct __sk_buff *skb)
{
	struct packet packet = {
		.context = skb,
		.tc = true,
		.data = (void *)(long)skb->data,
		.data_end = (void *)(long)skb->data_end,
	};

	if (!parse(&packet))
		return TC_ACT_UNSPEC;
	if (packet.protocol == IPPROTO_UDP) {
		__u32 port = get_reply_port(packet.sport);

		if (port)
			turn_reply(skb, &packet, port);
	}
	return TC_ACT_UNSPEC;
}

const volatile char bpf_metadata_mplex_version[] = "0.1.0";
const volatile char bpf_metadata_rules_sha256[] =
	"091d9b06d834da9e54a73907bd365e6903d100cf9cf1172a606fc2044cf61d96";

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What mplex-run must know: docs/object.md. */
const char mplex_manifest[] SEC(".mplex") =
	"{\"format\":1,\"version\":\"0.1.0\",\n"
	"\"rules\":{\"file\":\"deep.yaml\",\"sha256\":\"091d9b06d834da9e54a73907bd365e6903d100cf9cf1172a606fc2044cf61d96\"},\n"
	"\"needs\":{},\n"
	"\"reasons\":[\"routed\",\"tag\",\"length\",\"require\",\"malformed\",\"fragment\"],\n"
	"\"refusals\":[\"tag\",\"length\",\"require\",\"malformed\",\"fragment\"],\n"
	"\"listeners\":[\n"
	"{\"name\":\"deep\",\"protocols\":[\"udp\"],\"port\":4000,\"addresses\":[],\"replies\":\"stateless\",\"otherwise\":\"pass\",\"counters\":0,\"ports\":[4000,4001,4002,4003,4004,4005,4006,4007,4008,4009],\"routes\":[\n"
	"{\"tag\":\"1\",\"port\":4001,\"counter\":6},\n"
	"{\"tag\":\"2\",\"port\":4002,\"counter\":7},\n"
	"{\"tag\":\"3\",\"port\":4003,\"counter\":8},\n"
	"{\"tag\":\"4\",\"port\":4004,\"counter\":9},\n"
	"{\"tag\":\"5\",\"port\":4005,\"counter\":10},\n"
	"{\"tag\":\"600\",\"port\":4006,\"counter\":11},\n"
	"{\"tag\":\"700\",\"port\":4007,\"counter\":12},\n"
	"{\"tag\":\"800\",\"port\":4008,\"counter\":13},\n"
	"{\"tag\":\"900\",\"port\":4009,\"counter\":14}]\n"
	"}\n"
	"],\n"
	"\"tests\":[\n"
	"]}\n"
	"";
