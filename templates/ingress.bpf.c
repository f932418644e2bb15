/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex_ingress, in TC behind XDP: hands the first segment of a TCP connection to the listener of
 * its server, and turns back ICMP errors about replies. It carries no rules: what it does stands in
 * `pending` and `flows`.
 */
#pragma once
#include "capture.bpf.c"
#include "connection.bpf.c"
#include "checksum.bpf.c"
#include "icmp.bpf.c"
#include "judge.bpf.c"

/* part: hand_over_counters (needs: capture_tc, counter, packet, pending, skb) */
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

/* part: checksum_holds (needs: address_sum, checksum_fold, packet, skb, tcp_header) */
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

/* part: hand_over (needs: bound_ports, checksum_holds, from_client, hand_over_counters, listener_tuple, packet, parse_rest, pending, port_index, skb, sock, tcp_header, tuple_size) */
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
