/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP segments that the program makes itself: SYN-ACK, ACK, FIN-ACK and RST. The frame that came in
 * becomes the answer: its Ethernet header and VLAN tags stay, everything behind is written anew.
 */
#pragma once
#include "packet.bpf.c"
#include "checksum.bpf.c"
#include "connection.bpf.c"
#include "tuple.bpf.c"

/* part: answer (needs: kernel) */
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

/* part: write_tcp (needs: answer, checksum_fold, packet, tcp_header) */
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

/* part: cut_frame (needs: packet, answer) */
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

/* part: answer_tcp_ipv4 (needs: address_sum_ipv4, checksum_fold, connection, cut_frame, ipv4_header, write_tcp) */
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

/* part: answer_tcp_ipv6 (needs: address_sum_ipv6, connection, cut_frame, ipv6_header, write_tcp) */
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

/* part: next_hop_ipv4 (needs: fib, is_tagged, packet, connection, answer) */
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

/* part: next_hop_ipv6 (needs: fib, is_tagged, packet, connection, answer) */
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
