/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What judging a message takes: the verdict, loads of payload bytes, how a first TCP segment is
 * held against the length window, and the counters.
 */
#pragma once
#include "packet.bpf.c"
#include "written.bpf.h"

/* part: verdict (needs: kernel) */
/* What the rules say of a message. */
struct verdict {
	__u32 reason;
	__u32 counter; /* where routes are counted: how far the route's is behind the reason's */
	__u16 port;    /* to this local port; 0: refused */
	bool reset;    /* refuse a TCP client by RST */
};

/* part: packed_verdict (needs: verdict) */
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

/* part: observe (needs: kernel) */
const volatile __u8 mplex_observe; /* 1: every verdict is counted, none is carried out */

/* part: load_u8 (needs: kernel) */
static __always_inline __u64 load_u8(const __u8 *at)
{
	return *at;
}

/* part: load_u16 (needs: kernel) */
/* Bytes of a message as a number, the first byte the most significant. */
static __always_inline __u64 load_u16(const __u8 *at)
{
	return bpf_ntohs(*(const __be16 *)at);
}

/* part: load_u32 (needs: kernel) */
/* Bytes of a message as a number, the first byte the most significant. */
static __always_inline __u64 load_u32(const __u8 *at)
{
	return bpf_ntohl(*(const __be32 *)at);
}

/* part: load_u64 (needs: kernel) */
/* Bytes of a message as a number, the first byte the most significant. */
static __always_inline __u64 load_u64(const __u8 *at)
{
	return bpf_be64_to_cpu(*(const __u64 *)at);
}

/* part: choose (needs: kernel) */
/*
 * Whether a number is 0, as a number: 1 or 0. Where tags that have a route and tags that have none
 * come at random, a branch between the two would be guessed wrongly every other time, which costs
 * more than the look-up. So what follows from it is arithmetic, and the same for both.
 */
static __always_inline __u64 is_zero(__u64 number)
{
	__u64 negative = -number, zero;

	barrier_var(negative); /* or clang makes a branch of it */
	zero = ~(number | negative) >> 63;
	barrier_var(zero);
	return zero;
}

/* The one for 1, the other for 0. */
static __always_inline __u64 choose(__u64 first, __u64 one, __u64 other)
{
	return other ^ ((one ^ other) & -first);
}

/* part: first_segment (needs: packet) */
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

/* part: counter (needs: kernel) */
struct counter {
	__u64 packets;
	__u64 bytes;
};

/* part: counter_index (needs: packet, reasons, verdict) */
static __always_inline __u32 counter_index(const struct packet *packet,
					   const struct verdict *verdict)
{
	return packet->listener * REASONS + verdict->reason + verdict->counter;
}

/* part: count (needs: counter, counter_index) */
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
