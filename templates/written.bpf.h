/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the compiler writes itself, because it depends on the rules. A part that needs one of these
 * names it like any other part; the prototypes are here so that templates compile on their own.
 */
#pragma once
#include "kernel.bpf.c"

struct answer;
struct connection;
struct packet;
struct recent_flow;
struct verdict;

/* written: reasons */
enum {
	REASON_ROUTED,
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
	COUNTERS,
};

/* Judges a message by its listener's rules: what lies at an offset into the frame. */
/* written: payload_verdict */
__u64 payload_verdict(struct xdp_md *xdp, __u32 listener, __u32 offset, __u32 length);

/* skip_extensions in the program's own kind of context. */
/* written: extensions */
__u32 extensions(const struct packet *packet, __u64 offset, __u32 protocol);

/* Either family's, by the packet's version of IP. */
/* written: parse */
bool parse(struct packet *packet);
/* written: parse_rest */
void parse_rest(struct packet *packet);
/* written: from_client */
void from_client(const struct packet *packet, __be16 server_port, struct bpf_sock_tuple *tuple);
/* written: from_server */
void from_server(const struct packet *packet, __be16 server_port, struct bpf_sock_tuple *tuple);
/* written: address_sum */
__u64 address_sum(const struct packet *packet, const struct bpf_sock_tuple *tuple);
/* written: tuple_size */
__u32 tuple_size(const struct packet *packet);
/* written: listener_tuple */
void listener_tuple(const struct packet *packet, __u16 port, struct bpf_sock_tuple *tuple);
/* written: cookie_hash */
__u32 cookie_hash(const struct packet *packet, const struct connection *connection, __u32 isn,
		  __u64 window_options);
/* written: recent_flow */
__u64 fold_addresses(const struct packet *packet);
bool has_addresses(const struct recent_flow *recent, const struct packet *packet);
void copy_addresses(struct recent_flow *recent, const struct packet *packet);
/* written: mss */
__u16 own_mss(const struct packet *packet);
__u16 cookie_mss(const struct packet *packet, __u32 index);
__u32 cookie_mss_index(const struct packet *packet, __u16 mss);
/* written: is_martian */
bool is_martian(const struct packet *packet);
/* written: next_hop */
bool next_hop(const struct packet *packet, const struct connection *connection,
	      struct answer *answer);
/* written: answer_tcp */
bool answer_tcp(struct packet *packet, const struct connection *connection,
		const struct answer *answer);
/* written: quote */
bool quote(const struct packet *packet, struct packet *quote);

/* Not called by any part: the programs, and what only they call. */
/* written: find_listener */
/* written: judges */
/* written: datagram_verdict */
/* written: receive_udp */
/* written: receive */
/* written: mplex_xdp */
/* written: mplex_ingress */
/* written: mplex_egress */
