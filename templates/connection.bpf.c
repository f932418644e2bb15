/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the program knows of a TCP connection: what the segment says, what the kernel says of its
 * tuple, and what was judged a moment ago (the map `pending`, through which TC learns of it).
 */
#pragma once
#include "packet.bpf.c"
#include "written.bpf.h"

/* part: connection (needs: tuple) */
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

/* part: parse_tcp (needs: packet, tcp_header, ip_length_holds) */
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

/* part: find_socket (needs: connection, packet, sock, tuple_size) */
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

/* part: tcp_options (needs: packet, tcp_header) */
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

/* part: pending (needs: kernel, tuple) */
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

/* part: bound_ports (needs: kernel) */
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
