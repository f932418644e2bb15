/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The SYN cookie: the sequence number of our SYN-ACK, which the client returns in every segment.
 *
 *	bits 31..11  hash of tuple, client's initial sequence number, window and options
 *	bits 10..8   window: time in steps of 2^36 ns (69 s), modulo 8
 *	bit  7       ECN was agreed
 *	bit  6       SACK was agreed
 *	bits 5..2    the client's window scale; 15: no scaling
 *	bits 1..0    the client's MSS, rounded down to a table of four
 *
 * The window in the cookie says which hash to compute, so one hash decides. A cookie of this window
 * or the one before opens a connection; an older one is recognised, so that the client can be told.
 */
#pragma once
#include "connection.bpf.c"
#include "written.bpf.h"

/* part: siphash (needs: kernel) */
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

/* part: cookie_hash_ipv4 (needs: siphash, tuple) */
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

/* part: cookie_hash_ipv6 (needs: siphash, tuple) */
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

/* part: mss_ipv4 (needs: kernel) */
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

/* part: mss_ipv6 (needs: kernel) */
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

/* part: cookie (needs: connection, cookie_hash, packet) */
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
