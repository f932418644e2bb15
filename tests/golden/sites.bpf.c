// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Made by mplexc 0.1.0 from sites.yaml. To change it, change the rules.
 * SHA-256 of the rules: 85c67af57102ae95f8b20dbade4e8ede730490b04e13d3294b352d3dcb3fa554
 *
 * north: tcp port 7000, messages of 64 to 4096 bytes, 2 routes by the 3 bytes at 0
 * south: tcp and udp port 7000, messages of 64 to 4096 bytes, 2 routes by the 3 bytes at 0
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
	REASON_ESTABLISHED,
	REASON_SYN,
	REASON_HANDSHAKE,
	REASON_KEEPALIVE,
	REASON_CLOSE,
	REASON_PENDING,
	REASON_LATE,
	REASON_TIME_WAIT,
	REASON_STRAY,
	REASON_NO_WAY_BACK,
	REASON_NO_KEY,
	REASONS,
};

enum listener {
	NORTH_LISTENER,
	SOUTH_LISTENER,
};

enum {
	NORTH_PORT = 7000,
	NORTH_LENGTH_MIN = 64, /* payload bytes of a message */
	NORTH_LENGTH_MAX = 4096,
	NORTH_TAG_OFFSET = 0,
	NORTH_END = 3, /* of the bytes that are looked at */
	NORTH_ROUTES = 34, /* from REASON_ROUTED's counter to its first route's */
	SOUTH_PORT = 7000,
	SOUTH_LENGTH_MIN = 64, /* payload bytes of a message */
	SOUTH_LENGTH_MAX = 4096,
	SOUTH_TAG_OFFSET = 0,
	SOUTH_END = 3, /* of the bytes that are looked at */
	SOUTH_ROUTES = 19, /* from REASON_ROUTED's counter to its first route's */
	COUNTERS = 38,
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

/* Broadcast or multicast. */
static __always_inline bool group_mac(const struct packet *packet)
{
	return *(__u8 *)packet->data & 1;
}

/* To this interface; a UDP datagram may also be to a group. */
static __always_inline bool addressed_to_interface(const struct packet *packet)
{
	return own_mac(packet) || (packet->protocol == IPPROTO_UDP && group_mac(packet));
}

static __always_inline bool is_to_north(const struct packet *packet)
{
	if (packet->version == 4) {
		const __be32 *to = &((const struct iphdr *)packet->ip)->daddr;

		if ((to[0] & bpf_htonl(0xffffff80)) == bpf_htonl(0xc0000200))
			return true; /* 192.0.2.0/25 */
	}
	if (packet->version == 6) {
		const __be32 *to = ((const struct ipv6hdr *)packet->ip)->daddr;

		if (to[0] == bpf_htonl(0x20010db8) && to[1] == bpf_htonl(0x00000001))
			return true; /* 2001:db8:0:1:0:0:0:0/64 */
	}
	return false;
}

static __always_inline bool is_to_south(const struct packet *packet)
{
	if (packet->version == 4) {
		const __be32 *to = &((const struct iphdr *)packet->ip)->daddr;

		if ((to[0] & bpf_htonl(0xffffff80)) == bpf_htonl(0xc0000280))
			return true; /* 192.0.2.128/25 */
	}
	if (packet->version == 6) {
		const __be32 *to = ((const struct ipv6hdr *)packet->ip)->daddr;

		if (to[0] == bpf_htonl(0x20010db8) && to[1] == bpf_htonl(0x00000002))
			return true; /* 2001:db8:0:2:0:0:0:0/64 */
	}
	return false;
}

/* Whose packet it is. False: not ours. The port first, it tells most packets. */
static __always_inline bool find_listener(struct packet *packet)
{
	__u32 listener;

	switch (unknown(packet, bpf_ntohs(packet->dport))) {
	case NORTH_PORT:
		if (packet->protocol == IPPROTO_TCP &&
		    is_to_north(packet))
			listener = NORTH_LISTENER;
		else if ((packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) &&
			 is_to_south(packet))
			listener = SOUTH_LISTENER;
		else
			return false;
		break;
	default:
		return false;
	}
	packet->listener = unknown(packet, listener);
	return addressed_to_interface(packet);
}

struct tcphdr {
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack_seq;
	__u8 data_offset; /* the upper four bits, in words */
	__u8 flags;
	__be16 window;
	__sum16 check;
	__be16 urg_ptr;
};

enum {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
	TCP_ECE = 0x40,
	TCP_CWR = 0x80,
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
static __always_inline bool parse_tcp(struct packet *packet)
{
	struct tcphdr *tcp = packet->transport;
	__u64 headers = packet->transport - packet->ip;
	__u32 length;

	if (!ip_length_holds(packet) || (void *)(tcp + 1) > packet->data_end)
		return false;
	length = (tcp->data_offset >> 4) * 4;
	if (length < sizeof(*tcp) || headers + length > packet->ip_length)
		return false;
	packet->payload = packet->transport + length;
	packet->payload_length = packet->ip_length - headers - length;
	return true;
}

/* A connection or flow as the host sees it: source is the client, destination the server. */
struct bpf_sock_tuple {
	union {
		struct {
			__be32 saddr;
			__be32 daddr;
			__be16 sport;
			__be16 dport;
		} ipv4;
		struct {
			__be32 saddr[4];
			__be32 daddr[4];
			__be16 sport;
			__be16 dport;
		} ipv6;
	};
};

/* The addresses' share of a pseudo-header's checksum. */
static __always_inline __u64 address_sum_ipv4(const struct bpf_sock_tuple *tuple)
{
	return (__u64)tuple->ipv4.saddr + tuple->ipv4.daddr;
}

/* A sum of less than 65,536 words of 16 or 32 bits as a checksum (RFC 1071). */
static __always_inline __sum16 checksum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

enum socket_state {
	SOCKET_NONE,
	SOCKET_LIVE,
	SOCKET_TIME_WAIT,
};

struct connection {
	struct bpf_sock_tuple tuple;
	enum socket_state socket;
	__u32 time_wait_rcv_nxt; /* in TIME_WAIT: what was expected next of the client */
	__u32 time_wait_tsval;	 /* and its last timestamp, 0 if it sent none */
	__u32 seq;
	__u32 ack_seq;
	__u64 now; /* CLOCK_MONOTONIC, ns */
};

enum {
	ANSWER_OPTIONS = 5, /* words: MSS, timestamps with SACK, window scale */
};

/* What an answer says, in host order. */
struct answer {
	__u32 seq;
	__u32 ack_seq;
	__u16 window;
	__u8 flags;
	__u32 option_words;
	__be32 options[ANSWER_OPTIONS]; /* 0 behind option_words */
	__u8 next_hop[6];		/* Ethernet address */
};

/*
 * Makes the frame `length` bytes long from the IP header on, turns its Ethernet header round and
 * reads its pointers anew. False: the driver cannot.
 */
static __always_inline bool cut_frame(struct packet *packet, const struct answer *answer,
				      __u32 length)
{
	struct xdp_md *xdp = packet->context;
	__u64 start = packet->ip - packet->data;
	struct ethhdr *ethernet;

	if (start > sizeof(struct ethhdr) + 2 * sizeof(struct vlan_hdr))
		return false;
	if (bpf_xdp_adjust_tail(xdp, (int)(start + length - bpf_xdp_get_buff_len(xdp))))
		return false;
	packet->data = (void *)(long)xdp->data;
	packet->data_end = (void *)(long)xdp->data_end;
	packet->ip = packet->data + start;
	ethernet = packet->data;
	if ((void *)(ethernet + 1) > packet->data_end)
		return false;
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, 6);
	__builtin_memcpy(ethernet->h_dest, answer->next_hop, 6);
	return true;
}

/* Writes the header from behind the IP header on; sum is that of the pseudo-header's addresses. */
static __always_inline bool write_tcp(struct packet *packet, struct tcphdr *tcp, __be16 sport,
				      __be16 dport, const struct answer *answer, __u64 sum)
{
	__u32 words = answer->option_words;
	__u64 bytes;

	if ((void *)(tcp + 1) > packet->data_end)
		return false;
	tcp->source = sport;
	tcp->dest = dport;
	tcp->seq = bpf_htonl(answer->seq);
	tcp->ack_seq = bpf_htonl(answer->ack_seq);
	tcp->data_offset = (5 + words) << 4;
	tcp->flags = answer->flags;
	tcp->window = bpf_htons(answer->window);
	tcp->urg_ptr = 0;
	sum += bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(*tcp) + words * 4);
	sum += sport + dport + (__u64)tcp->seq + tcp->ack_seq + tcp->window;
	sum += bpf_htons(tcp->data_offset << 8 | tcp->flags);
	for (int i = 0; i < ANSWER_OPTIONS; i++)
		sum += answer->options[i];
	tcp->check = checksum_fold(sum);
	bytes = words * 4;
	barrier_var(bytes); /* the verifier wants to see its bounds */
	if (bytes < 4 || bytes > sizeof(answer->options))
		return true;
	return !bpf_xdp_store_bytes(packet->context, (void *)(tcp + 1) - packet->data,
				    (void *)answer->options, bytes);
}

const volatile __u8 mplex_ttl; /* net.ipv4.ip_default_ttl */

static __always_inline bool answer_tcp_ipv4(struct packet *packet,
					    const struct connection *connection,
					    const struct answer *answer)
{
	const struct bpf_sock_tuple *tuple = &connection->tuple;
	__u32 length = sizeof(struct iphdr) + sizeof(struct tcphdr) + answer->option_words * 4;
	__u64 addresses = address_sum_ipv4(tuple);
	struct iphdr *ip;

	if (!cut_frame(packet, answer, length))
		return false;
	ip = packet->ip;
	if ((void *)(ip + 1) > packet->data_end)
		return false;
	ip->version_ihl = 0x45;
	ip->tos = 0;
	ip->tot_len = bpf_htons(length);
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DF);
	ip->ttl = mplex_ttl ?: 64;
	ip->protocol = IPPROTO_TCP;
	ip->saddr = tuple->ipv4.daddr;
	ip->daddr = tuple->ipv4.saddr;
	ip->check = checksum_fold(addresses + bpf_htons(0x4500) + ip->tot_len + ip->frag_off +
				  bpf_htons(ip->ttl << 8 | IPPROTO_TCP));
	return write_tcp(packet, (void *)(ip + 1), tuple->ipv4.dport, tuple->ipv4.sport, answer,
			 addresses);
}

/* The addresses' share of a pseudo-header's checksum. */
static __always_inline __u64 address_sum_ipv6(const struct bpf_sock_tuple *tuple)
{
	__u64 sum = 0;

	for (int i = 0; i < 4; i++)
		sum += (__u64)tuple->ipv6.saddr[i] + tuple->ipv6.daddr[i];
	return sum;
}

const volatile __u8 mplex_hop_limit; /* net.ipv6.conf.*.hop_limit */

static __always_inline bool answer_tcp_ipv6(struct packet *packet,
					    const struct connection *connection,
					    const struct answer *answer)
{
	const struct bpf_sock_tuple *tuple = &connection->tuple;
	__u32 length = sizeof(struct tcphdr) + answer->option_words * 4;
	struct ipv6hdr *ip;

	if (!cut_frame(packet, answer, sizeof(*ip) + length))
		return false;
	ip = packet->ip;
	if ((void *)(ip + 1) > packet->data_end)
		return false;
	ip->flow = (ip->flow & bpf_htonl(0x000fffff)) | bpf_htonl(6 << 28);
	ip->payload_len = bpf_htons(length);
	ip->nexthdr = IPPROTO_TCP;
	ip->hop_limit = mplex_hop_limit ?: 64;
	for (int i = 0; i < 4; i++) {
		ip->saddr[i] = tuple->ipv6.daddr[i];
		ip->daddr[i] = tuple->ipv6.saddr[i];
	}
	return write_tcp(packet, (void *)(ip + 1), tuple->ipv6.dport, tuple->ipv6.sport, answer,
			 address_sum_ipv6(tuple));
}

static __always_inline bool answer_tcp(struct packet *packet, const struct connection *connection,
				       const struct answer *answer)
{
	if (packet->version == 4)
		return answer_tcp_ipv4(packet, connection, answer);
	return answer_tcp_ipv6(packet, connection, answer);
}

/* Listen ports that have bound a connection; TC looks no further into anything else. */
struct bound_ports {
	__u8 bound[65536];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bound_ports);
} bound_ports SEC(".maps");

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

/* What the rules say of a message. */
struct verdict {
	__u32 reason;
	__u32 counter; /* where routes are counted: how far the route's is behind the reason's */
	__u16 port;    /* to this local port; 0: refused */
	bool reset;    /* refuse a TCP client by RST */
};

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

const volatile __u64 mplex_key[2]; /* random, drawn by the loader */

/* SipHash-2-4 (Aumasson and Bernstein, 2012) of whole 64-bit words. */
struct siphash {
	__u64 v0, v1, v2, v3;
};

static __always_inline __u64 rotate_left(__u64 word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static __always_inline void sip_round(struct siphash *s)
{
	s->v0 += s->v1;
	s->v1 = rotate_left(s->v1, 13) ^ s->v0;
	s->v0 = rotate_left(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate_left(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate_left(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate_left(s->v1, 17) ^ s->v2;
	s->v2 = rotate_left(s->v2, 32);
}

static __always_inline void sip_word(struct siphash *s, __u64 word)
{
	s->v3 ^= word;
	sip_round(s);
	sip_round(s);
	s->v0 ^= word;
}

static __always_inline __u64 siphash(const __u64 *words, int count)
{
	struct siphash s = {
		.v0 = mplex_key[0] ^ 0x736f6d6570736575,
		.v1 = mplex_key[1] ^ 0x646f72616e646f6d,
		.v2 = mplex_key[0] ^ 0x6c7967656e657261,
		.v3 = mplex_key[1] ^ 0x7465646279746573,
	};

	for (int i = 0; i < count; i++)
		sip_word(&s, words[i]);
	sip_word(&s, (__u64)count * 8 << 56);
	s.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static __noinline __u32 cookie_hash_ipv4(const struct bpf_sock_tuple *tuple, __u32 isn,
					 __u64 window_options)
{
	__u64 words[3] = {
		tuple->ipv4.saddr | (__u64)tuple->ipv4.daddr << 32,
		tuple->ipv4.sport | (__u64)tuple->ipv4.dport << 16 | (__u64)isn << 32,
		window_options,
	};

	return siphash(words, 3) >> 43;
}

static __noinline __u32 cookie_hash_ipv6(const struct bpf_sock_tuple *tuple, __u32 isn,
					 __u64 window_options)
{
	const __be32 *saddr = tuple->ipv6.saddr, *daddr = tuple->ipv6.daddr;
	__u64 words[6] = {
		saddr[0] | (__u64)saddr[1] << 32,
		saddr[2] | (__u64)saddr[3] << 32,
		daddr[0] | (__u64)daddr[1] << 32,
		daddr[2] | (__u64)daddr[3] << 32,
		tuple->ipv6.sport | (__u64)tuple->ipv6.dport << 16 | (__u64)isn << 32,
		window_options,
	};

	return siphash(words, 6) >> 43;
}

static __always_inline __u32 cookie_hash(const struct packet *packet,
					 const struct connection *connection, __u32 isn,
					 __u64 window_options)
{
	if (packet->version == 4)
		return cookie_hash_ipv4(&connection->tuple, isn, window_options);
	return cookie_hash_ipv6(&connection->tuple, isn, window_options);
}

enum {
	COOKIE_WINDOW_SHIFT = 36, /* of nanoseconds */
	COOKIE_WINDOWS = 8,
	COOKIE_BINDS = 2, /* windows in which a cookie opens a connection */
	COOKIE_ECN = 1 << 7,
	COOKIE_SACK = 1 << 6,
	COOKIE_OPTIONS = 0xff,
};

static __always_inline __u32 cookie_scale(__u32 cookie)
{
	return cookie >> 2 & 15;
}

static __always_inline __u32 cookie_make(const struct packet *packet,
					 const struct connection *connection, __u32 options)
{
	__u64 window = connection->now >> COOKIE_WINDOW_SHIFT;

	return cookie_hash(packet, connection, connection->seq, window << 16 | options) << 11 |
	       (window % COOKIE_WINDOWS) << 8 | options;
}

/* The age, in windows, of the cookie that a segment returns; COOKIE_WINDOWS if it is none of ours.
 */
static __always_inline __u32 cookie_age(const struct packet *packet,
					const struct connection *connection, __u32 isn)
{
	__u32 cookie = connection->ack_seq - 1;
	__u64 window = connection->now >> COOKIE_WINDOW_SHIFT;
	__u32 age = (window - (cookie >> 8)) % COOKIE_WINDOWS;

	if (cookie_hash(packet, connection, isn,
			(window - age) << 16 | (cookie & COOKIE_OPTIONS)) != cookie >> 11)
		return COOKIE_WINDOWS;
	return age;
}

/* The checksum after a 16-bit word has changed (RFC 1624, equation 3). */
static __always_inline __sum16 checksum_update(__sum16 check, __be16 from, __be16 to)
{
	__u32 sum = (__u16)~check + (__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return ~sum;
}

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port;
	__be16 dst_port;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
};

enum {
	BPF_F_CURRENT_NETNS = -1,
	TCP_TIME_WAIT = 6,
	TCP_LISTEN = 10,
};

static __always_inline __u32 tuple_size(const struct packet *packet)
{
	if (packet->version == 4)
		return sizeof(((struct bpf_sock_tuple *)0)->ipv4);
	return sizeof(((struct bpf_sock_tuple *)0)->ipv6);
}

/* As the kernel has them since 6.8; the loader relocates the members (CO-RE). */
struct sock_common {
	__u32 skc_tw_rcv_nxt;
} __attribute__((preserve_access_index));

struct inet_timewait_sock {
	struct sock_common __tw_common;
} __attribute__((preserve_access_index));

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
	__u32 tw_ts_recent;
} __attribute__((preserve_access_index));

/* Asks the kernel for the connection's own socket; a listener is none. */
static __always_inline void find_socket(const struct packet *packet, struct connection *connection)
{
	struct tcp_timewait_sock *time_wait;
	struct bpf_sock *sk;

	sk = bpf_skc_lookup_tcp(packet->context, &connection->tuple, tuple_size(packet),
				BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return;
	if (sk->state == TCP_TIME_WAIT) {
		connection->socket = SOCKET_TIME_WAIT;
		time_wait = bpf_skc_to_tcp_timewait_sock(sk);
		if (time_wait) {
			connection->time_wait_rcv_nxt = time_wait->tw_sk.__tw_common.skc_tw_rcv_nxt;
			connection->time_wait_tsval = time_wait->tw_ts_recent;
		}
	} else if (sk->state != TCP_LISTEN) {
		connection->socket = SOCKET_LIVE;
	}
	bpf_sk_release(sk);
}

static __always_inline void from_client_ipv4(const struct packet *packet, __be16 server_port,
					     struct bpf_sock_tuple *tuple)
{
	const struct iphdr *ip = packet->ip;

	tuple->ipv4.saddr = ip->saddr;
	tuple->ipv4.daddr = ip->daddr;
	tuple->ipv4.sport = packet->sport;
	tuple->ipv4.dport = server_port;
}

static __always_inline void from_client_ipv6(const struct packet *packet, __be16 server_port,
					     struct bpf_sock_tuple *tuple)
{
	const struct ipv6hdr *ip = packet->ip;

	__builtin_memcpy(tuple->ipv6.saddr, ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(tuple->ipv6.daddr, ip->daddr, sizeof(ip->daddr));
	tuple->ipv6.sport = packet->sport;
	tuple->ipv6.dport = server_port;
}

static __always_inline void from_client(const struct packet *packet, __be16 server_port,
					struct bpf_sock_tuple *tuple)
{
	if (packet->version == 4)
		from_client_ipv4(packet, server_port, tuple);
	else
		from_client_ipv6(packet, server_port, tuple);
}

/* A source that no packet from outside can have (RFC 1122, 3.2.1.3): nothing is sent there. */
static __always_inline bool is_martian_ipv4(const struct packet *packet)
{
	const struct iphdr *ip = packet->ip;
	__u32 from = bpf_ntohl(ip->saddr);

	return from >> 24 == 0 || from >> 24 == 127 || from >> 28 >= 14 || ip->saddr == ip->daddr;
}

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

static __always_inline bool is_martian(const struct packet *packet)
{
	if (packet->version == 4)
		return is_martian_ipv4(packet);
	return is_martian_ipv6(packet);
}

static __always_inline __u64 load_u8(const __u8 *at)
{
	return *at;
}

/* Bytes of a message as a number, the first byte the most significant. */
static __always_inline __u64 load_u16(const __u8 *at)
{
	return bpf_ntohs(*(const __be16 *)at);
}

enum {
	FIRST_SEGMENT = 496, /* the least MSS, 536, less the longest options */
};

/*
 * Whether the first segment of a connection holds what the rules judge. A short one is whole
 * messages. A longer one may have been cut or joined on its way: it must reach to `end`, where the
 * last byte that is looked at stands.
 */
static __always_inline bool first_segment_holds(__u32 length, __u32 min, __u32 max, __u32 end)
{
	__u32 messages = (length + max - 1) / max;

	if (length >= FIRST_SEGMENT)
		return length >= end;
	return messages * min <= length;
}

enum { NORTH_SLOTS = 2 };

/* Every tag is in the one slot that its hash names. */
static const struct {
	__u32 tag;
	__u16 port;
	__u16 route;
} slots_north[NORTH_SLOTS] SEC(".rodata") = {
	[0] = { 0x4f5244, 7101, 1 }, /* "ORD" */
	[1] = { 0x494e56, 7102, 0 }, /* "INV" */
};

static __always_inline bool route_north(const __u8 *tag, struct verdict *verdict)
{
	__u64 word = load_u16(tag) << 8 | load_u8(tag + 2);
	__u64 hash;
	__u64 slot;

	hash = word * 0xe220a8397b1dcdafULL;
	slot = hash >> 63;
	if (slots_north[slot].tag == word) {
		verdict->port = slots_north[slot].port;
		verdict->counter = NORTH_ROUTES + slots_north[slot].route;
		return true;
	}
	return false;
}

static __always_inline void judge_north(const struct packet *packet, struct verdict *verdict)
{
	const __u8 *payload = packet->payload;

	verdict->reset = true;
	verdict->reason = REASON_LENGTH;
	if (!first_segment_holds(packet->payload_length, NORTH_LENGTH_MIN, NORTH_LENGTH_MAX,
				 NORTH_END))
		return;
	verdict->reason = REASON_MALFORMED; /* longer than its frame */
	if ((void *)(payload + 3) > packet->data_end)
		return;
	verdict->reason = REASON_TAG;
	if (route_north(payload + NORTH_TAG_OFFSET, verdict))
		verdict->reason = REASON_ROUTED;
}

enum { SOUTH_SLOTS = 2 };

/* Every tag is in the one slot that its hash names. */
static const struct {
	__u32 tag;
	__u16 port;
	__u16 route;
} slots_south[SOUTH_SLOTS] SEC(".rodata") = {
	[0] = { 0x4f5244, 7201, 1 }, /* "ORD" */
	[1] = { 0x494e56, 7202, 0 }, /* "INV" */
};

static __always_inline bool route_south(const __u8 *tag, struct verdict *verdict)
{
	__u64 word = load_u16(tag) << 8 | load_u8(tag + 2);
	__u64 hash;
	__u64 slot;

	hash = word * 0xe220a8397b1dcdafULL;
	slot = hash >> 63;
	if (slots_south[slot].tag == word) {
		verdict->port = slots_south[slot].port;
		verdict->counter = SOUTH_ROUTES + slots_south[slot].route;
		return true;
	}
	return false;
}

static __always_inline void judge_south(const struct packet *packet, struct verdict *verdict)
{
	const __u8 *payload = packet->payload;

	verdict->reason = REASON_LENGTH;
	if (packet->protocol == IPPROTO_TCP &&
	    !first_segment_holds(packet->payload_length, SOUTH_LENGTH_MIN, SOUTH_LENGTH_MAX,
				 SOUTH_END))
		return;
	if (packet->protocol == IPPROTO_UDP &&
	    (packet->payload_length < SOUTH_LENGTH_MIN ||
	    packet->payload_length > SOUTH_LENGTH_MAX))
		return;
	verdict->reason = REASON_MALFORMED; /* longer than its frame */
	if ((void *)(payload + 3) > packet->data_end)
		return;
	verdict->reason = REASON_TAG;
	if (route_south(payload + SOUTH_TAG_OFFSET, verdict))
		verdict->reason = REASON_ROUTED;
}


/* As a number, which is all that a global function can return. */
static __always_inline __u64 pack_verdict(const struct verdict *verdict)
{
	return (__u64)verdict->counter << 32 | (__u32)verdict->port << 16 | verdict->reset << 8 |
	       verdict->reason;
}

static __always_inline void unpack_verdict(__u64 packed, struct verdict *verdict)
{
	verdict->counter = packed >> 32;
	verdict->port = packed >> 16;
	verdict->reset = packed >> 8 & 1;
	verdict->reason = packed & 0xff;
}

enum {
	PAYLOAD_OFFSET = 0x7fff, /* in the frame: eight extension headers reach half as far */
};

/*
 * What the rules say of the first segment of a TCP connection. A global function: the
 * verifier walks it once, and not once for each of the many ways to it.
 */
__noinline __u64 payload_verdict(struct xdp_md *xdp, __u32 listener, __u32 offset, __u32 length)
{
	void *data = (void *)(long)xdp->data;
	struct packet packet = {
		.context = xdp,
		.data = data,
		.data_end = (void *)(long)xdp->data_end,
		.payload = data + (offset & PAYLOAD_OFFSET),
		.payload_length = length,
		.protocol = IPPROTO_TCP,
	};
	struct verdict verdict = {};

	barrier_var(listener); /* what is never used would not be passed */
	switch (listener) {
	case NORTH_LISTENER:
		judge_north(&packet, &verdict);
		break;
	case SOUTH_LISTENER:
		judge_south(&packet, &verdict);
		break;
	}
	return pack_verdict(&verdict);
}

const volatile __u16 mplex_mss_v4; /* to announce: the MTU less 40 */

static __always_inline __u16 own_mss_ipv4(void)
{
	return mplex_mss_v4 ?: 536;
}

/* What a cookie can say of the client's MSS: minimum, tunnels, Ethernet, jumbo frames. */
static __always_inline __u16 cookie_mss_ipv4(__u32 index)
{
	return index == 3 ? 8960 : index == 2 ? 1460 : index == 1 ? 1300 : 536;
}

static __always_inline __u32 cookie_mss_index_ipv4(__u16 mss)
{
	return (mss >= 1300) + (mss >= 1460) + (mss >= 8960);
}

const volatile __u16 mplex_mss_v6; /* to announce: the MTU less 60 */

static __always_inline __u16 own_mss_ipv6(void)
{
	return mplex_mss_v6 ?: 1220;
}

/*
 * What a cookie can say of the client's MSS: minimum MTU, tunnels, Ethernet, jumbo frames. The
 * kernel takes no connection with less than the minimum.
 */
static __always_inline __u16 cookie_mss_ipv6(__u32 index)
{
	return index == 3 ? 8940 : index == 2 ? 1440 : index == 1 ? 1380 : 1220;
}

static __always_inline __u32 cookie_mss_index_ipv6(__u16 mss)
{
	return (mss >= 1380) + (mss >= 1440) + (mss >= 8940);
}

static __always_inline __u16 own_mss(const struct packet *packet)
{
	if (packet->version == 4)
		return own_mss_ipv4();
	return own_mss_ipv6();
}

static __always_inline __u16 cookie_mss(const struct packet *packet, __u32 index)
{
	if (packet->version == 4)
		return cookie_mss_ipv4(index);
	return cookie_mss_ipv6(index);
}

static __always_inline __u32 cookie_mss_index(const struct packet *packet, __u16 mss)
{
	if (packet->version == 4)
		return cookie_mss_index_ipv4(mss);
	return cookie_mss_index_ipv6(mss);
}

struct bpf_fib_lookup {
	__u8 family;
	__u8 l4_protocol;
	__be16 sport;
	__be16 dport;
	__u16 tot_len;
	__u32 ifindex;
	__u32 tos;
	__be32 src[4]; /* IPv4: the first */
	__be32 dst[4];
	__u16 h_vlan_proto;
	__u16 h_vlan_TCI;
	__u8 smac[6];
	__u8 dmac[6];
};

enum {
	AF_INET = 2,
	AF_INET6 = 10,
	BPF_FIB_LKUP_RET_SUCCESS = 0,
	BPF_FIB_LKUP_RET_FWD_DISABLED = 5,
	BPF_FIB_LKUP_RET_NO_NEIGH = 7,
};

/* Whether a packet carries a VLAN tag. */
static __always_inline bool is_tagged(const struct packet *packet)
{
	return packet->ip - packet->data > (long)sizeof(struct ethhdr);
}

/*
 * The Ethernet address to answer to: the route's next hop, or the sender where the host knows no
 * better (no neighbour entry; a host that does not forward has no FIB for us; a VLAN's route is not
 * this interface's). False: the way back is through another interface, or there is none.
 */
static __always_inline bool next_hop_ipv4(const struct packet *packet,
					  const struct connection *connection,
					  struct answer *answer)
{
	struct xdp_md *xdp = packet->context;
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.l4_protocol = IPPROTO_TCP,
		.ifindex = xdp->ingress_ifindex,
		.src[0] = connection->tuple.ipv4.daddr,
		.dst[0] = connection->tuple.ipv4.saddr,
	};

	if (is_tagged(packet))
		return true;
	switch (bpf_fib_lookup(xdp, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		__builtin_memcpy(answer->next_hop, fib.dmac, 6);
		return fib.ifindex == xdp->ingress_ifindex;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return fib.ifindex == xdp->ingress_ifindex;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return true;
	default:
		return false;
	}
}

/* As for IPv4. A link-local client is its own next hop. */
static __always_inline bool next_hop_ipv6(const struct packet *packet,
					  const struct connection *connection,
					  struct answer *answer)
{
	struct xdp_md *xdp = packet->context;
	struct bpf_fib_lookup fib = {
		.family = AF_INET6,
		.l4_protocol = IPPROTO_TCP,
		.ifindex = xdp->ingress_ifindex,
	};

	__builtin_memcpy(fib.src, connection->tuple.ipv6.daddr, sizeof(fib.src));
	__builtin_memcpy(fib.dst, connection->tuple.ipv6.saddr, sizeof(fib.dst));
	if (is_tagged(packet) || (fib.dst[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		return true;
	switch (bpf_fib_lookup(xdp, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		__builtin_memcpy(answer->next_hop, fib.dmac, 6);
		return fib.ifindex == xdp->ingress_ifindex;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return fib.ifindex == xdp->ingress_ifindex;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return true;
	default:
		return false;
	}
}

static __always_inline bool next_hop(const struct packet *packet, const struct connection *connection,
				     struct answer *answer)
{
	if (packet->version == 4)
		return next_hop_ipv4(packet, connection, answer);
	return next_hop_ipv6(packet, connection, answer);
}

const volatile __u8 mplex_observe; /* 1: every verdict is counted, none is carried out */

enum {
	PENDING_FRESH = 200 * 1000 * 1000, /* ns in which the kernel makes the socket */
};

/* A connection whose first segment was judged; kept for as long as its cookie could be replayed. */
struct pending {
	__u64 bound_at; /* CLOCK_MONOTONIC, ns */
	__u32 isn;	/* the client's */
	__u32 tsval;
	__u32 tsecr;
	__u16 port; /* of the server's listener */
	__u16 mss;
	__u8 listener;
	__u8 client_scale;
	__u8 server_scale;
	bool scaling;
	bool sack;
	bool timestamps;
	bool ecn;
	bool delivered; /* TC has handed the segment over */
	bool kept;	/* the kernel has, or had, a socket of it */
	int drops;	/* connections that the listener had dropped by then */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct bpf_sock_tuple);
	__type(value, struct pending);
} pending SEC(".maps");

/*
 * While the program only observes, the kernel makes the connections, and what clients return is no
 * cookie of ours. What a cookie would tell stands in `pending` instead: an entry without a port
 * waits for the first data.
 */
static __always_inline struct pending *find_waiting(const struct connection *connection)
{
	struct pending *known = bpf_map_lookup_elem(&pending, &connection->tuple);

	return known && !known->port ? known : 0;
}

/* Whether a segment is where the first data is expected, or a probe before it. */
static __always_inline bool is_awaited(const struct connection *connection, __u32 seq)
{
	const struct pending *waiting = find_waiting(connection);

	return waiting && seq - waiting->isn <= 1;
}

/* A SYN that would be answered. For the hand-over nothing is left to do, now or later. */
static __always_inline void await_data(const struct connection *connection)
{
	struct pending waiting = {
		.bound_at = connection->now,
		.isn = connection->seq,
		.delivered = true,
	};

	bpf_map_update_elem(&pending, &connection->tuple, &waiting, 0);
}

/* As cookie_age. */
static __always_inline __u32 waiting_age(const struct connection *connection, __u32 isn)
{
	const struct pending *waiting = find_waiting(connection);
	__u64 age;

	if (!waiting || waiting->isn != isn)
		return COOKIE_WINDOWS;
	age = (connection->now >> COOKIE_WINDOW_SHIFT) - (waiting->bound_at >> COOKIE_WINDOW_SHIFT);
	return age < COOKIE_WINDOWS ? age : COOKIE_WINDOWS;
}

/* The age of what a segment returns, for an initial sequence number of its sender. */
static __always_inline __u32 opening_age(const struct packet *packet,
					 const struct connection *connection, __u32 isn)
{
	if (mplex_observe)
		return waiting_age(connection, isn);
	return cookie_age(packet, connection, isn);
}

/* A port as an index. The verifier of older kernels sees no bound in what ntohs returns. */
static __always_inline __u32 port_index(__be16 port)
{
	__u32 index = bpf_ntohs(port);

	barrier_var(index);
	return index & 0xffff;
}

enum {
	TCP_OPTIONS_MAX = 40,
	TCPOPT_EOL = 0,
	TCPOPT_NOP = 1,
	TCPOPT_MSS = 2,
	TCPOPT_WINDOW = 3,
	TCPOPT_SACK_PERM = 4,
	TCPOPT_TIMESTAMP = 8,
	WINDOW_SCALE_MAX = 14, /* RFC 7323 */
	NO_WINDOW_SCALE = 15,  /* as in the cookie */
};

struct tcp_options {
	__u8 bytes[TCP_OPTIONS_MAX + 16]; /* an option may be read past the last one */
	__u32 length;
	__u32 at;
	__u32 tsval;
	__u32 tsecr;
	__u16 mss; /* 0: not there */
	__u8 window_scale;
	bool sack;
	bool timestamps;
};

static __always_inline __u32 option_u32(const __u8 *bytes)
{
	return (__u32)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

/* bpf_loop's callback: reads one option. 1 ends the loop. */
static long parse_option(__u32 index __attribute__((unused)), struct tcp_options *options)
{
	__u32 at = options->at;
	const __u8 *option = &options->bytes[at];
	__u32 left = options->length - at;
	__u32 length;

	if (at >= TCP_OPTIONS_MAX || at >= options->length || option[0] == TCPOPT_EOL)
		return 1;
	if (option[0] == TCPOPT_NOP) {
		options->at = at + 1;
		return 0;
	}
	/* bytes[] ends in spare ones, so that no read needs a check of its own. */
	length = option[1];
	if (length < 2 || length > left)
		return 1;
	switch (option[0] << 8 | length) {
	case TCPOPT_MSS << 8 | 4:
		options->mss = option[2] << 8 | option[3];
		break;
	case TCPOPT_WINDOW << 8 | 3:
		options->window_scale = option[2] > WINDOW_SCALE_MAX ? WINDOW_SCALE_MAX : option[2];
		break;
	case TCPOPT_SACK_PERM << 8 | 2:
		options->sack = true;
		break;
	case TCPOPT_TIMESTAMP << 8 | 10:
		options->tsval = option_u32(option + 2);
		options->tsecr = option_u32(option + 6);
		options->timestamps = true;
		break;
	}
	options->at = at + length;
	return 0;
}

/* Reads the options of a segment; a segment whose options end too early has those before. */
static __always_inline void parse_options(const struct packet *packet, struct tcp_options *options)
{
	__u64 start = packet->transport - packet->data + sizeof(struct tcphdr);
	__u64 length = packet->payload - packet->transport - sizeof(struct tcphdr);

	options->window_scale = NO_WINDOW_SCALE;
	if (length < 1 || length > TCP_OPTIONS_MAX)
		return;
	if (bpf_xdp_load_bytes(packet->context, start, options->bytes, length))
		return;
	options->length = length;
	bpf_loop(TCP_OPTIONS_MAX, parse_option, options, 0);
}

const volatile __u16 mplex_window;			     /* to announce; 0: 65535 */
const volatile __u8 mplex_window_scale;			     /* to announce; 255: none */
const volatile __u8 mplex_sack, mplex_timestamps, mplex_ecn; /* 1: the sysctl allows it */
const volatile __u8 mplex_redirect; /* 1: answers leave by bpf_redirect, not by XDP_TX */

enum {
	MILLISECOND = 1000 * 1000,
};

/* Whether a is after b in sequence space (RFC 9293, 3.4). */
static __always_inline bool after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

static __always_inline void add_option_word(struct answer *answer, __u32 word)
{
	__u32 at = answer->option_words;

	if (at < ANSWER_OPTIONS) { /* which the verifier cannot know */
		answer->options[at] = bpf_htonl(word);
		answer->option_words = at + 1;
	}
}

/* Timestamps (RFC 7323) behind two bytes that fill the word. */
static __always_inline void add_timestamps(struct answer *answer, __u32 lead,
					   const struct connection *connection, __u32 tsecr)
{
	add_option_word(answer, lead << 16 | TCPOPT_TIMESTAMP << 8 | 10);
	add_option_word(answer, connection->now / MILLISECOND);
	add_option_word(answer, tsecr);
}

/*
 * The options of a SYN-ACK: only those that the SYN had, packed as tightly. So an answer is never
 * longer than what it answers, and its frame always has room for it.
 */
static __always_inline void add_options(const struct packet *packet,
					const struct connection *connection,
					const struct tcp_options *options, struct answer *answer)
{
	__u32 lead = TCPOPT_NOP << 8 | TCPOPT_NOP;

	if (options->mss)
		add_option_word(answer, TCPOPT_MSS << 24 | 4 << 16 | own_mss(packet));
	if (options->timestamps) {
		if (options->sack)
			lead = TCPOPT_SACK_PERM << 8 | 2;
		add_timestamps(answer, lead, connection, options->tsval);
	} else if (options->sack) {
		add_option_word(answer, lead << 16 | TCPOPT_SACK_PERM << 8 | 2);
	}
	if (options->window_scale != NO_WINDOW_SCALE)
		add_option_word(answer, TCPOPT_NOP << 24 | TCPOPT_WINDOW << 16 | 3 << 8 |
						mplex_window_scale);
}

/* A SYN: answered with a cookie. No state is kept. */
static __always_inline int receive_syn(struct packet *packet, struct connection *connection,
				       struct answer *answer, struct verdict *verdict)
{
	const struct tcphdr *tcp = packet->transport;
	struct tcp_options options = {};
	__u32 cookie;
	bool ecn;

	if (is_martian(packet)) {
		verdict->reason = REASON_STRAY;
		return XDP_DROP;
	}
	parse_options(packet, &options);
	ecn = mplex_ecn && (tcp->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR);
	if (connection->socket == SOCKET_TIME_WAIT &&
	    !after(connection->seq, connection->time_wait_rcv_nxt) &&
	    !(options.timestamps && connection->time_wait_tsval &&
	      after(options.tsval, connection->time_wait_tsval))) {
		verdict->reason = REASON_ESTABLISHED;
		return XDP_PASS;
	}
	if (!next_hop(packet, connection, answer)) {
		verdict->reason = REASON_NO_WAY_BACK;
		return XDP_DROP;
	}
	if (!mplex_sack)
		options.sack = false;
	if (!mplex_timestamps)
		options.timestamps = false;
	if (mplex_window_scale > WINDOW_SCALE_MAX)
		options.window_scale = NO_WINDOW_SCALE;

	cookie = cookie_make(packet, connection,
			     (ecn ? COOKIE_ECN : 0) | (options.sack ? COOKIE_SACK : 0) |
				     options.window_scale << 2 |
				     cookie_mss_index(packet, options.mss));
	answer->seq = cookie;
	answer->ack_seq = connection->seq + 1;
	answer->window = mplex_window ?: 65535;
	answer->flags = TCP_SYN | TCP_ACK | (ecn ? TCP_ECE : 0);
	add_options(packet, connection, &options, answer);
	verdict->reason = REASON_SYN;
	return XDP_TX;
}

/* An ACK or FIN-ACK of ours, before the first data. */
static __always_inline int acknowledge(const struct packet *packet,
				       const struct connection *connection, struct answer *answer,
				       __u8 flags)
{
	struct tcp_options options = {};
	__u32 window = mplex_window ?: 65535;

	parse_options(packet, &options);
	if (cookie_scale(connection->ack_seq - 1) != NO_WINDOW_SCALE &&
	    mplex_window_scale <= WINDOW_SCALE_MAX)
		window = window >> mplex_window_scale ?: 1;
	answer->seq = connection->ack_seq;
	answer->ack_seq = connection->seq + 1;
	answer->window = window;
	answer->flags = flags;
	if (options.timestamps && mplex_timestamps)
		add_timestamps(answer, TCPOPT_NOP << 8 | TCPOPT_NOP, connection, options.tsval);
	return XDP_TX;
}

static __always_inline int reset(const struct connection *connection, struct answer *answer)
{
	answer->seq = connection->ack_seq;
	answer->flags = TCP_RST;
	return XDP_TX;
}

/*
 * Makes the segment a RST that ends the TIME_WAIT state of its tuple (RFC 9293, 3.10.7.4), in whose
 * way the new socket would be. The client sends the segment again a moment later.
 */
static __always_inline void end_time_wait(const struct packet *packet,
					  const struct connection *connection)
{
	struct tcphdr *tcp = packet->transport;
	__be16 *bits = (__be16 *)&tcp->data_offset, reset = bpf_htons(5 << 12 | TCP_RST);
	__be16 *seq = (__be16 *)&tcp->seq;
	__be16 high = bpf_htons(connection->time_wait_rcv_nxt >> 16);
	__be16 low = bpf_htons(connection->time_wait_rcv_nxt & 0xffff);
	__sum16 check = tcp->check;

	check = checksum_update(check, *bits, reset);
	check = checksum_update(check, seq[0], high);
	tcp->check = checksum_update(check, seq[1], low);
	*bits = reset;
	seq[0] = high;
	seq[1] = low;
}

static __always_inline void segment_verdict(const struct packet *packet, struct verdict *verdict)
{
	unpack_verdict(payload_verdict(packet->context, packet->listener,
				       packet->payload - packet->data, packet->payload_length),
		       verdict);
}

/* The first data of a connection: judged, noted for TC, and passed; or refused. */
static __always_inline int receive_data(struct packet *packet, struct connection *connection,
					struct answer *answer, struct verdict *verdict)
{
	__u32 cookie = connection->ack_seq - 1;
	struct tcp_options options = {};
	struct bound_ports *ports;
	struct pending *known;

	known = bpf_map_lookup_elem(&pending, &connection->tuple);
	if (known && known->port && known->isn == connection->seq - 1) {
		verdict->reason =
			REASON_PENDING; /* judged before: TC knows whether it got through */
		return XDP_PASS;
	}
	segment_verdict(packet, verdict);
	if (!verdict->port && mplex_observe)
		bpf_map_delete_elem(&pending, &connection->tuple);
	if (!verdict->port)
		return verdict->reset ? reset(connection, answer) : XDP_DROP;
	if (connection->socket == SOCKET_TIME_WAIT) {
		verdict->reason = REASON_TIME_WAIT;
		verdict->counter = 0;
		return XDP_PASS;
	}
	parse_options(packet, &options);
	struct pending bound = {
		.bound_at = connection->now,
		.isn = connection->seq - 1,
		.tsval = options.tsval,
		.tsecr = options.tsecr,
		.port = verdict->port,
		.mss = cookie_mss(packet, cookie & 3),
		.listener = packet->listener,
		.client_scale = cookie_scale(cookie),
		.server_scale = mplex_window_scale,
		.scaling = cookie_scale(cookie) != NO_WINDOW_SCALE,
		.sack = cookie & COOKIE_SACK,
		.timestamps = options.timestamps && mplex_timestamps,
		.ecn = cookie & COOKIE_ECN,
		.delivered = mplex_observe,
	};
	bpf_map_update_elem(&pending, &connection->tuple, &bound, 0);
	ports = bpf_map_lookup_elem(&bound_ports, &(__u32){0});
	if (ports)
		ports->bound[port_index(packet->dport)] = 1;
	return XDP_PASS;
}

/* A segment with ACK, without SYN or RST, for which there is no live socket. */
static __always_inline int receive_segment(struct packet *packet, struct connection *connection,
					   struct answer *answer, struct verdict *verdict)
{
	const struct tcphdr *tcp = packet->transport;
	bool fin = tcp->flags & TCP_FIN;
	__u32 age, probe_age = COOKIE_WINDOWS;
	struct pending *known;

	age = opening_age(packet, connection, connection->seq - 1);
	if (age < COOKIE_BINDS) {
		if (packet->payload_length)
			return receive_data(packet, connection, answer, verdict);
		verdict->reason = fin ? REASON_CLOSE : REASON_HANDSHAKE;
		return fin ? acknowledge(packet, connection, answer, TCP_FIN | TCP_ACK) : XDP_DROP;
	}
	if (packet->payload_length <= 1)
		probe_age = opening_age(packet, connection, connection->seq);
	if (probe_age < COOKIE_BINDS) {
		verdict->reason = REASON_KEEPALIVE;
		return acknowledge(packet, connection, answer, TCP_ACK);
	}
	if (connection->socket == SOCKET_TIME_WAIT) {
		verdict->reason = REASON_ESTABLISHED;
		return XDP_PASS;
	}
	known = bpf_map_lookup_elem(&pending, &connection->tuple);
	if (known && connection->now - known->bound_at < PENDING_FRESH) {
		verdict->reason = REASON_PENDING;
		return XDP_PASS;
	}
	if (age < COOKIE_WINDOWS || probe_age < COOKIE_WINDOWS) {
		verdict->reason = REASON_LATE;
		return reset(connection, answer);
	}
	verdict->reason = REASON_STRAY;
	return XDP_DROP;
}

/* A live connection ends: it got its first segment, so any copy of that is a replay. */
static __always_inline void note_end(const struct connection *connection)
{
	struct pending *known = bpf_map_lookup_elem(&pending, &connection->tuple);

	if (known)
		known->kept = true;
}

/* What becomes of a TCP packet to a listen port. An answer is prepared, not yet written. */
static __always_inline int judge_tcp(struct packet *packet, struct connection *connection,
				     struct answer *answer, struct verdict *verdict)
{
	const struct tcphdr *tcp = packet->transport;
	__u8 flags = tcp->flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST);
	int action;

	from_client(packet, packet->dport, &connection->tuple);
	find_socket(packet, connection);
	if (connection->socket == SOCKET_LIVE &&
	    !(mplex_observe && is_awaited(connection, bpf_ntohl(tcp->seq)))) {
		if (flags & (TCP_FIN | TCP_RST))
			note_end(connection);
		verdict->reason = REASON_ESTABLISHED;
		return XDP_PASS;
	}
	if (!mplex_key[0] && !mplex_key[1]) {
		verdict->reason = REASON_NO_KEY;
		return XDP_DROP;
	}
	connection->seq = bpf_ntohl(tcp->seq);
	connection->ack_seq = bpf_ntohl(tcp->ack_seq);
	connection->now = bpf_ktime_get_ns();
	if (flags == TCP_SYN) {
		action = receive_syn(packet, connection, answer, verdict);
		if (mplex_observe && action == XDP_TX)
			await_data(connection);
		return action;
	}
	if ((flags & ~TCP_FIN) == TCP_ACK)
		return receive_segment(packet, connection, answer, verdict);
	if (connection->socket == SOCKET_TIME_WAIT) {
		verdict->reason = REASON_ESTABLISHED;
		return XDP_PASS;
	}
	verdict->reason = REASON_STRAY;
	return XDP_DROP;
}

static __always_inline int receive_tcp(struct packet *packet, struct verdict *verdict)
{
	const struct ethhdr *ethernet = packet->data;
	struct connection connection = {};
	struct answer answer = {};
	int action;

	__builtin_memcpy(answer.next_hop, ethernet->h_source, 6);
	action = judge_tcp(packet, &connection, &answer, verdict);
	capture_packet(packet, verdict);
	if (mplex_observe)
		return XDP_PASS;
	if (verdict->reason == REASON_TIME_WAIT)
		end_time_wait(packet, &connection);
	if (action != XDP_TX)
		return action;
	if (!answer_tcp(packet, &connection, &answer))
		return XDP_DROP;
	if (!mplex_redirect)
		return XDP_TX;
	return bpf_redirect(((struct xdp_md *)packet->context)->ingress_ifindex, 0);
}

struct udphdr {
	__be16 source;
	__be16 dest;
	__be16 len;
	__sum16 check;
};

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

/* What the rules say of a UDP datagram. */
static __always_inline void datagram_verdict(const struct packet *packet, struct verdict *verdict)
{
	judge_south(packet, verdict);
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

/* To be called behind every addition to `flows`, which may have pushed another flow out. */
static __always_inline void flow_added(void)
{
	struct reply_ports *replies = bpf_map_lookup_elem(&reply_ports, &(__u32){0});

	if (replies)
		__sync_fetch_and_add(&replies->flows_added, 1);
}

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

static __always_inline __u64 fold_addresses(const struct packet *packet)
{
	if (packet->version == 4)
		return fold_addresses_ipv4(packet);
	return fold_addresses_ipv6(packet);
}

static __always_inline bool has_addresses(const struct recent_flow *recent,
					  const struct packet *packet)
{
	if (packet->version == 4)
		return has_addresses_ipv4(recent, packet);
	return has_addresses_ipv6(recent, packet);
}

static __always_inline void copy_addresses(struct recent_flow *recent,
					   const struct packet *packet)
{
	if (packet->version == 4)
		copy_addresses_ipv4(recent, packet);
	else
		copy_addresses_ipv6(recent, packet);
}

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
	track(packet, verdict->port);
	readdress(packet, verdict->port);
	return XDP_PASS;
}

/* From here on the packet is ours: whatever is wrong with it is refused. */
static __always_inline int receive(struct packet *packet, struct verdict *verdict)
{
	verdict->reason = REASON_FRAGMENT;
	if (!packet->fragment) {
		verdict->reason = REASON_MALFORMED;
		if (packet->protocol == IPPROTO_TCP && parse_tcp(packet))
			return receive_tcp(packet, verdict);
		if (packet->protocol == IPPROTO_UDP && parse_udp(packet))
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

static __always_inline __u64 address_sum(const struct packet *packet,
					 const struct bpf_sock_tuple *tuple)
{
	if (packet->version == 4)
		return address_sum_ipv4(tuple);
	return address_sum_ipv6(tuple);
}

enum {
	CHECKSUM_CHUNK = 128,
	CHECKSUM_CHUNKS = 65536 / CHECKSUM_CHUNK,
};

struct checksum_walk {
	__u8 bytes[CHECKSUM_CHUNK];
	struct __sk_buff *skb;
	__u32 offset;
	__u32 left;
	__wsum sum;
};

/* bpf_loop's callback: adds the next bytes. 1 ends the loop. */
static long add_chunk(__u32 index __attribute__((unused)), struct checksum_walk *walk)
{
	__u32 length = walk->left;

	if (!length)
		return 1;
	if (length > CHECKSUM_CHUNK)
		length = CHECKSUM_CHUNK;
	__builtin_memset(walk->bytes, 0, sizeof(walk->bytes));
	if (bpf_skb_load_bytes(walk->skb, walk->offset, walk->bytes, length))
		return 1;
	walk->sum = bpf_csum_diff(0, 0, (__be32 *)walk->bytes, sizeof(walk->bytes), walk->sum);
	walk->offset += length;
	walk->left -= length;
	return 0;
}

/*
 * Whether the kernel will find the TCP checksum right, or, between virtual interfaces, not yet
 * filled in: then it is that of the pseudo-header alone. A damaged segment, which the kernel drops,
 * must not use up the cookie of the good one that follows.
 */
static __always_inline bool checksum_holds(struct __sk_buff *skb, const struct packet *packet,
					   const struct bpf_sock_tuple *tuple)
{
	const struct tcphdr *tcp = packet->transport;
	__u32 length = packet->ip_length - (__u64)(packet->transport - packet->ip);
	__u64 pseudo = address_sum(packet, tuple) + bpf_htons(IPPROTO_TCP) + bpf_htons(length);
	struct checksum_walk walk = {
		.skb = skb,
		.offset = packet->transport - packet->data,
		.left = length,
	};

	if (tcp->check == (__sum16)~checksum_fold(pseudo))
		return true;
	bpf_loop(CHECKSUM_CHUNKS, add_chunk, &walk, 0);
	return !walk.left && !checksum_fold(pseudo + walk.sum);
}

__noinline int capture_tc(struct __sk_buff *skb, __u32 listener, __u32 outcome, __u32 index)
{
	struct capture_sample sample = {
		.time = bpf_ktime_get_ns(),
		.index = index,
		.hand_over = true,
		.length = skb->len,
		.captured = cut_sample(skb->len),
	};
	struct capture_sampling *sampling;

	if (!take_sample(listener, CAPTURE_HAND_OVER + outcome, sample.time, &sampling))
		return 0;
	if (skb->vlan_present) {
		sample.vlan_proto = bpf_ntohs(skb->vlan_proto);
		sample.vlan_tci = skb->vlan_tci;
	}
	if (bpf_perf_event_output(skb, &capture_samples,
				  (__u64)sample.captured << CAPTURED_SHIFT | BPF_F_CURRENT_CPU,
				  &sample, sizeof(sample)))
		sampling->lost++;
	return 0;
}

enum hand_over {
	DELIVERED,
	LISTENER_MISSING,
	LISTENER_MPTCP,
	BACKLOG,
	REPLAY,
	NOT_TAKEN,
	HAND_OVERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LISTENERS_MAX *HAND_OVERS);
	__type(key, __u32);
	__type(value, struct counter);
} ingress_counters SEC(".maps");

static __always_inline void count_hand_over(struct __sk_buff *skb, const struct packet *packet,
					    const struct pending *known, enum hand_over outcome)
{
	__u32 index = known->listener * HAND_OVERS + outcome;
	struct counter *counter = bpf_map_lookup_elem(&ingress_counters, &index);

	if (counter) {
		counter->packets++;
		counter->bytes += packet->ip_length;
	}
	if (capture.until)
		capture_tc(skb, known->listener, outcome, index);
}

/* Makes a connection's tuple that of a listener: source port 0 matches no connection. */
static __always_inline void listener_tuple_ipv4(__u16 port, struct bpf_sock_tuple *tuple)
{
	tuple->ipv4.sport = 0;
	tuple->ipv4.dport = bpf_htons(port);
}

/* Makes a connection's tuple that of a listener: source port 0 matches no connection. */
static __always_inline void listener_tuple_ipv6(__u16 port, struct bpf_sock_tuple *tuple)
{
	tuple->ipv6.sport = 0;
	tuple->ipv6.dport = bpf_htons(port);
}

static __always_inline void listener_tuple(const struct packet *packet, __u16 port,
					   struct bpf_sock_tuple *tuple)
{
	if (packet->version == 4)
		listener_tuple_ipv4(port, tuple);
	else
		listener_tuple_ipv6(port, tuple);
}

/* The kernel's, since 6.8: net/core/filter.c. */
struct bpf_tcp_req_attrs {
	__u32 rcv_tsval;
	__u32 rcv_tsecr;
	__u16 mss;
	__u8 rcv_wscale;
	__u8 snd_wscale;
	__u8 ecn_ok;
	__u8 wscale_ok;
	__u8 sack_ok;
	__u8 tstamp_ok;
	__u8 usec_ts_ok;
	__u8 reserved[3];
};

typedef struct {
	int counter;
} __attribute__((preserve_access_index)) atomic_t;

struct sock {
	atomic_t sk_drops;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	void *sk_reuseport_cb;
} __attribute__((preserve_access_index));

struct inet_sock {
	struct sock sk;
} __attribute__((preserve_access_index));

struct inet_connection_sock {
	struct inet_sock icsk_inet;
} __attribute__((preserve_access_index));

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	bool is_mptcp;
} __attribute__((preserve_access_index));

extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk,
				   struct bpf_tcp_req_attrs *attrs, int attrs__sz) __ksym;

static __always_inline bool is_fresh(const struct pending *known)
{
	return bpf_ktime_get_ns() - known->bound_at < PENDING_FRESH;
}

/*
 * Gives the segment to the listener: the kernel then makes the connection as if it had seen the
 * handshake itself. What is not given to it, the kernel answers by RST.
 *
 * A cookie opens one connection. A segment that was given before is a copy, which must not deliver
 * its message again, unless the kernel could not keep the connection: the accept queue was full.
 * If its socket was ever seen, or the listener, which counts what it drops, has dropped nothing
 * since, the first one got through. Of an SO_REUSEPORT group the kernel chooses the member only
 * later, so there is no queue to ask. The first one's socket may still be in the making, so a copy
 * right behind it must not cause a RST.
 *
 * A connection counts as delivered once, however often its segment had to be given.
 */
static __always_inline int give(struct __sk_buff *skb, const struct packet *packet,
				struct pending *known, struct bpf_sock *listener)
{
	struct bpf_tcp_req_attrs attrs = {
		.rcv_tsval = known->tsval,
		.rcv_tsecr = known->tsecr,
		.mss = known->mss,
		.rcv_wscale = known->scaling ? known->server_scale : 0,
		.snd_wscale = known->scaling ? known->client_scale : 0,
		.ecn_ok = known->ecn,
		.wscale_ok = known->scaling,
		.sack_ok = known->sack,
		.tstamp_ok = known->timestamps,
	};
	struct tcp_sock *tcp;
	struct sock *sk;
	bool group, dropped_nothing;

	if (listener->state != TCP_LISTEN) {
		count_hand_over(skb, packet, known, LISTENER_MISSING);
		return TC_ACT_UNSPEC;
	}
	tcp = bpf_skc_to_tcp_sock(listener);
	if (!tcp) {
		count_hand_over(skb, packet, known, LISTENER_MISSING);
		return TC_ACT_UNSPEC;
	}
	sk = &tcp->inet_conn.icsk_inet.sk;
	group = sk->sk_reuseport_cb;
	dropped_nothing = !group && known->drops == sk->sk_drops.counter;
	if (known->kept || (known->delivered && (dropped_nothing || is_fresh(known)))) {
		count_hand_over(skb, packet, known, REPLAY);
		return is_fresh(known) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	}
	if (!group && sk->sk_ack_backlog > sk->sk_max_ack_backlog) {
		count_hand_over(skb, packet, known, BACKLOG);
		return TC_ACT_SHOT;
	}
	if (bpf_sk_assign_tcp_reqsk(skb, sk, &attrs, sizeof(attrs))) {
		count_hand_over(skb, packet, known, tcp->is_mptcp ? LISTENER_MPTCP : NOT_TAKEN);
		return TC_ACT_UNSPEC;
	}
	if (!known->delivered)
		count_hand_over(skb, packet, known, DELIVERED);
	known->delivered = true;
	known->bound_at = bpf_ktime_get_ns();
	known->drops = sk->sk_drops.counter;
	return TC_ACT_UNSPEC;
}

/* Whether the kernel has a socket of the connection's own. */
static __always_inline bool has_socket(struct __sk_buff *skb, const struct packet *packet,
				       struct bpf_sock_tuple *tuple)
{
	struct bpf_sock *sk;
	bool own;

	sk = bpf_skc_lookup_tcp(skb, tuple, tuple_size(packet), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	own = sk->state != TCP_LISTEN;
	bpf_sk_release(sk);
	return own;
}

static __always_inline int hand_over(struct __sk_buff *skb, struct packet *packet)
{
	struct bound_ports *ports = bpf_map_lookup_elem(&bound_ports, &(__u32){0});
	struct tcphdr *tcp = packet->transport;
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *listener;
	struct pending *known;
	int action;

	if (!ports || !ports->bound[port_index(packet->dport)])
		return TC_ACT_UNSPEC;
	if ((void *)(tcp + 1) > packet->data_end)
		return TC_ACT_UNSPEC;
	from_client(packet, packet->dport, &tuple);
	known = bpf_map_lookup_elem(&pending, &tuple);
	if (!known || (tcp->flags & (TCP_SYN | TCP_RST)))
		return TC_ACT_UNSPEC;
	if (known->delivered && !known->kept)
		known->kept = has_socket(skb, packet, &tuple);
	if (known->isn + 1 != bpf_ntohl(tcp->seq)) /* waits for the first segment, or is ordinary */
		return !known->delivered && is_fresh(known) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	if (known->kept && has_socket(skb, packet, &tuple))
		return TC_ACT_UNSPEC;
	parse_rest(packet);
	if (!checksum_holds(skb, packet, &tuple))
		return TC_ACT_UNSPEC;
	listener_tuple(packet, known->port, &tuple);
	listener = bpf_skc_lookup_tcp(skb, &tuple, tuple_size(packet), BPF_F_CURRENT_NETNS, 0);
	if (!listener) {
		count_hand_over(skb, packet, known, LISTENER_MISSING);
		return TC_ACT_UNSPEC;
	}
	action = give(skb, packet, known, listener);
	bpf_sk_release(listener);
	return action;
}

static __always_inline void from_server_ipv4(const struct packet *packet, __be16 server_port,
					     struct bpf_sock_tuple *tuple)
{
	const struct iphdr *ip = packet->ip;

	tuple->ipv4.saddr = ip->daddr;
	tuple->ipv4.daddr = ip->saddr;
	tuple->ipv4.sport = packet->dport;
	tuple->ipv4.dport = server_port;
}

static __always_inline void from_server_ipv6(const struct packet *packet, __be16 server_port,
					     struct bpf_sock_tuple *tuple)
{
	const struct ipv6hdr *ip = packet->ip;

	__builtin_memcpy(tuple->ipv6.saddr, ip->daddr, sizeof(ip->daddr));
	__builtin_memcpy(tuple->ipv6.daddr, ip->saddr, sizeof(ip->saddr));
	tuple->ipv6.sport = packet->dport;
	tuple->ipv6.dport = server_port;
}

static __always_inline void from_server(const struct packet *packet, __be16 server_port,
					struct bpf_sock_tuple *tuple)
{
	if (packet->version == 4)
		from_server_ipv4(packet, server_port, tuple);
	else
		from_server_ipv6(packet, server_port, tuple);
}

struct icmphdr {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest;
};

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

/* As for IPv4 (RFC 4443). */
static __always_inline bool quote_ipv6(const struct packet *packet, struct packet *quote)
{
	const struct icmphdr *icmp = packet->transport;

	if (packet->protocol != IPPROTO_ICMPV6 || icmp->type < 1 || icmp->type > 4)
		return false;
	quote->ip = (void *)(icmp + 1);
	return parse_ipv6(quote) && quote->protocol == IPPROTO_UDP;
}

static __always_inline bool quote(const struct packet *packet, struct packet *quote)
{
	if (packet->version == 4)
		return quote_ipv4(packet, quote);
	return quote_ipv6(packet, quote);
}

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

SEC("tc")
int mplex_ingress(struct __sk_buff *skb)
{
	struct packet packet = {
		.context = skb,
		.tc = true,
		.data = (void *)(long)skb->data,
		.data_end = (void *)(long)skb->data_end,
	};

	if (!parse(&packet))
		return TC_ACT_UNSPEC;
	if (packet.protocol == IPPROTO_TCP)
		return hand_over(skb, &packet);
	turn_error_in(skb, &packet);
	return TC_ACT_UNSPEC;
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

		if (port == REPLIES_TRACKED)
			port = tracked_port(&packet);
		if (port)
			turn_reply(skb, &packet, port);
	} else {
		turn_error_out(skb, &packet);
	}
	return TC_ACT_UNSPEC;
}

const volatile char bpf_metadata_mplex_version[] = "0.1.0";
const volatile char bpf_metadata_rules_sha256[] =
	"85c67af57102ae95f8b20dbade4e8ede730490b04e13d3294b352d3dcb3fa554";

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What mplex-run must know: docs/object.md. */
const char mplex_manifest[] SEC(".mplex") =
	"{\"format\":1,\"version\":\"0.1.0\",\n"
	"\"rules\":{\"file\":\"sites.yaml\",\"sha256\":\"85c67af57102ae95f8b20dbade4e8ede730490b04e13d3294b352d3dcb3fa554\"},\n"
	"\"needs\":{\"kfuncs\":[\"bpf_sk_assign_tcp_reqsk\"],\"sysctls\":{\"net.ipv4.tcp_syncookies\":{\"min\":1}}},\n"
	"\"reasons\":[\"routed\",\"tag\",\"length\",\"require\",\"malformed\",\"fragment\",\"established\",\"syn\",\"handshake\",\"keepalive\",\"close\",\"pending\",\"late\",\"time-wait\",\"stray\",\"no-way-back\",\"no-key\"],\n"
	"\"ingress_reasons\":[\"delivered\",\"no-listener\",\"mptcp-listener\",\"backlog\",\"replay\",\"not-taken\"],\n"
	"\"refusals\":[\"tag\",\"length\",\"require\",\"malformed\",\"fragment\",\"late\",\"stray\",\"no-way-back\",\"no-key\",\"no-listener\",\"mptcp-listener\",\"backlog\",\"replay\",\"not-taken\"],\n"
	"\"listeners\":[\n"
	"{\"name\":\"north\",\"protocols\":[\"tcp\"],\"port\":7000,\"addresses\":[\"192.0.2.0/25\",\"2001:db8:0:1::/64\"],\"otherwise\":\"refuse\",\"counters\":0,\"ports\":[7101,7102],\"routes\":[\n"
	"{\"tag\":\"INV\",\"port\":7102,\"counter\":34},\n"
	"{\"tag\":\"ORD\",\"port\":7101,\"counter\":35}]\n"
	"},\n"
	"{\"name\":\"south\",\"protocols\":[\"tcp\",\"udp\"],\"port\":7000,\"addresses\":[\"192.0.2.128/25\",\"2001:db8:0:2::/64\"],\"replies\":\"tracked\",\"otherwise\":\"refuse\",\"counters\":17,\"ports\":[7201,7202],\"routes\":[\n"
	"{\"tag\":\"INV\",\"port\":7202,\"counter\":36},\n"
	"{\"tag\":\"ORD\",\"port\":7201,\"counter\":37}]\n"
	"}\n"
	"],\n"
	"\"tests\":[\n"
	"{\"listener\":0,\"protocol\":\"tcp\",\"line\":17,\"length\":64,\"bytes\":[{\"at\":0,\"hex\":\"4f5244\"}],\"expect\":\"route\",\"port\":7101}\n"
	",{\"listener\":0,\"protocol\":\"tcp\",\"line\":18,\"length\":64,\"bytes\":[{\"at\":0,\"hex\":\"6f7264\"}],\"expect\":\"refuse\"}\n"
	",{\"listener\":1,\"protocol\":\"tcp\",\"line\":31,\"length\":64,\"bytes\":[{\"at\":0,\"hex\":\"4f5244\"}],\"expect\":\"route\",\"port\":7201}\n"
	",{\"listener\":1,\"protocol\":\"udp\",\"line\":31,\"length\":64,\"bytes\":[{\"at\":0,\"hex\":\"4f5244\"}],\"expect\":\"route\",\"port\":7201}\n"
	",{\"listener\":1,\"protocol\":\"tcp\",\"line\":32,\"length\":64,\"bytes\":[{\"at\":0,\"hex\":\"58595a\"}],\"expect\":\"refuse\"}\n"
	",{\"listener\":1,\"protocol\":\"udp\",\"line\":32,\"length\":64,\"bytes\":[{\"at\":0,\"hex\":\"58595a\"}],\"expect\":\"refuse\"}\n"
	"]}\n"
	"";
