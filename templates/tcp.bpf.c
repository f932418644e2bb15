/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP by delayed binding. The handshake is answered here, with a cookie and no state; the first
 * data segment is judged, once, and TC hands it to the listener of the server that it is for. From
 * then on the connection is the kernel's own, and its segments only pass.
 */
#pragma once
#include "answer.bpf.c"
#include "capture.bpf.c"
#include "cookie.bpf.c"
#include "judge.bpf.c"

/* part: observe_tcp (needs: connection, cookie, observe, pending) */
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

/* part: receive_tcp (needs: answer_tcp, bound_ports, capture, cookie, checksum_update, find_socket, from_client, is_martian, payload_verdict, mss, next_hop, observe_tcp, packed_verdict, pending, port_index, reasons, tcp_options, verdict) */
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
