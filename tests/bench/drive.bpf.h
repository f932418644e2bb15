/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the drivers have in common: drawing a tag, writing it into the frame, and putting back the
 * header that the last packet's rewrite changed.
 *
 * A fresh tag matters because a packet like the last one finds its table row in the cache and its
 * branches predicted. Tags come from arithmetic alone, so that drawing them takes no cache from the
 * program. Tag i of a set is i times an odd constant, modulo 2 to the power of the tag's bits; a
 * set has numbers 0..tag_count-1, and misses have tag_count..2*tag_count-1.
 */
#pragma once

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16, __be16;
typedef signed int __s32;
typedef unsigned int __u32, __be32, __wsum;
typedef signed long long __s64;
typedef unsigned long long __u64, __be64;

#include <bpf/bpf_helpers.h>

typedef _Bool bool;

enum {
	false,
	true,
};

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

enum {
	RESULTS = 8, /* what mplex_xdp may return, and some more */
};

const volatile __u32 tag_offset; /* into the frame; 0: no tag is written */
const volatile __u32 tag_length; /* 1..32 */
const volatile __u32 tag_count;
const volatile __u32 miss_share;     /* of 2^32 packets; all ones: every one */
const volatile __u32 skewed;	     /* 1: a hundredth of the tags gets a third of the packets */
const volatile __u32 restore_offset; /* of eight bytes that are put back; 0: none */
const volatile __u64 restore_value;

__u64 state = 1;	/* of the drawing */
__u64 results[RESULTS]; /* how often mplex_xdp returned what */

extern int mplex_xdp(struct xdp_md *ctx);

static __always_inline __u32 draw(__u64 *number)
{
	*number = *number * 6364136223846793005ULL + 1442695040888963407ULL;
	return *number >> 32;
}

static __always_inline __u64 draw_index(__u64 *number)
{
	__u64 index = draw(number);

	if (skewed) {
		index = index * index >> 32;
		index = index * index >> 32;
	}
	index = index * tag_count >> 32;
	if (miss_share) {
		/* No branch: one that is taken at random here would teach the program's own. */
		__u64 miss = ((__u64)draw(number) - miss_share - 1) >> 63;

		barrier_var(miss);
		index += tag_count * miss;
	}
	return index;
}

/* The pieces that a program reading the tag would load, so that the loads can be forwarded. */
static __always_inline void write_tag(__u8 *at, __u64 index)
{
	__u64 word = index * 0x9e3779b97f4a7c15ULL;
	__u32 done = 0;

	for (int i = 0; i < 4; i++) {
		if (done + 8 > tag_length)
			break;
		*(__u64 *)(at + done) = word;
		word = word * 0x9e3779b97f4a7c15ULL;
		done += 8;
	}
	if (tag_length & 4) {
		*(__u32 *)(at + done) = word;
		word >>= 32;
		done += 4;
	}
	if (tag_length & 2) {
		*(__u16 *)(at + done) = word;
		word >>= 16;
		done += 2;
	}
	if (tag_length & 1)
		*(at + done) = word;
}

/* A frame as the next packet: its header, and a tag. False: it is too short. */
static __always_inline bool prepare(struct xdp_md *ctx, __u64 *number)
{
	__u8 *data = (__u8 *)(long)ctx->data, *end = (__u8 *)(long)ctx->data_end;

	if (restore_offset) {
		__u8 *at = data + (restore_offset & 0xfff);

		if (at + 8 > end)
			return false;
		*(__u64 *)at = restore_value;
	}
	if (tag_offset) {
		__u8 *at = data + (tag_offset & 0xfff);

		if (at + 32 > end)
			return false;
		write_tag(at, draw_index(number));
	}
	return true;
}
