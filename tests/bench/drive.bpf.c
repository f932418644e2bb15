/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The outer program of every measurement: 64 packets for each run, each with a fresh tag.
 *
 * The program to be measured is linked in as a global function, mplex_xdp; so it is called, never
 * inlined, and all it lacks is its section's name. Round it stand, for each packet: drawing a tag,
 * writing it into the frame, and putting back the header that the last packet's rewrite changed.
 * The same loop around a function that does nothing is what the measuring itself costs.
 *
 * A fresh tag matters because a packet like the last one finds its table row in the cache and its
 * branches predicted. Tags come from arithmetic alone, so that drawing them takes no cache from the
 * program. Tag i of a set is i times an odd constant, modulo 2 to the power of the tag's bits; a
 * set has numbers 0..tag_count-1, and misses have tag_count..2*tag_count-1.
 */
typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16, __be16;
typedef signed int __s32;
typedef unsigned int __u32, __be32, __wsum;
typedef signed long long __s64;
typedef unsigned long long __u64, __be64;

#include <bpf/bpf_helpers.h>

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

enum {
	PACKETS = 64, /* per run */
	RESULTS = 8,  /* what mplex_xdp may return, and some more */
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

SEC("xdp.frags")
int drive(struct xdp_md *ctx)
{
	__u64 number = state, counts = 0;

	for (int i = 0; i < PACKETS; i++) {
		__u8 *data = (__u8 *)(long)ctx->data, *end = (__u8 *)(long)ctx->data_end;

		if (restore_offset) {
			__u8 *at = data + (restore_offset & 0xfff);

			if (at + 8 > end)
				return 0;
			*(__u64 *)at = restore_value;
		}
		if (tag_offset) {
			__u8 *at = data + (tag_offset & 0xfff);

			if (at + 32 > end)
				return 0;
			write_tag(at, draw_index(&number));
		}
		/* A byte for each result; 64 packets cannot overflow one. */
		counts += 1ULL << ((mplex_xdp(ctx) & 7) * 8);
	}
	state = number;
	for (int i = 0; i < RESULTS; i++)
		results[i] += counts >> (i * 8) & 0xff;
	return 2;
}
