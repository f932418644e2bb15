/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An object that keeps docs/object.md and does next to nothing, for the tests of mplex-run: its XDP
 * program counts UDP datagrams to port 5000 under the first reason and passes all; its TC programs
 * count the same (ingress) and everything (egress) as the first two ingress reasons and say "next".
 *
 * The tests compile it with their own MANIFEST and leave parts out: -DWITHOUT_TC, -DWITHOUT_XDP,
 * -DWITHOUT_MANIFEST, -DWITHOUT_ADDRESSES, -DUNVERIFIABLE; -DWIDE_COUNTERS has ingress_counters in
 * another layout.
 */
#include <stdbool.h>

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
enum bpf_map_type {
	BPF_MAP_TYPE_PERCPU_ARRAY = 6
};
struct xdp_md {
	__u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};
struct __sk_buff {
	__u32 len, others[18], data, data_end;
};

#include <bpf/bpf_helpers.h>

struct count {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, struct count);
} counters SEC(".maps");

#ifdef WIDE_COUNTERS
struct ingress_count {
	__u64 bytes, packets;
};
#else
#define ingress_count count
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 192);
	__type(key, __u32);
	__type(value, struct ingress_count);
} ingress_counters SEC(".maps");

const volatile __u8 mplex_mac[6];
#ifdef WITHOUT_ADDRESSES
enum {
	mplex_local_v4_count,
	mplex_local_v6_count,
	mplex_local_known
};
#else
const volatile __u32 mplex_local_v4_count, mplex_local_v6_count;
const volatile __be32 mplex_local_v4[64], mplex_local_v6[64][4];
const volatile __u8 mplex_local_known;
#endif
const volatile __u64 mplex_key[2];
const volatile __u16 mplex_mss_v4, mplex_mss_v6, mplex_window;
const volatile __u8 mplex_window_scale, mplex_sack, mplex_timestamps, mplex_ecn, mplex_ttl,
	mplex_hop_limit, mplex_redirect, mplex_linear;

#ifndef WITHOUT_MANIFEST
const char mplex_manifest[] SEC(".mplex") __attribute__((used)) = MANIFEST;
#endif

char _license[] SEC("license") = "Dual BSD/GPL";

/* Big-endian 5000, read as two bytes. */
static __always_inline bool is_ours(const __u8 *frame, const __u8 *end)
{
	return frame + 38 <= end && frame[12] == 8 && frame[13] == 0 && frame[23] == 17 &&
	       frame[36] == 5000 >> 8 && frame[37] == (5000 & 255);
}

static __always_inline void add(void *map, __u32 index, __u64 bytes)
{
	struct count *count = bpf_map_lookup_elem(map, &index);

	if (count) {
		count->packets++;
		count->bytes += bytes;
	}
}

#ifndef WITHOUT_XDP
/* A look at every constant keeps all of them in the object; it is never true. */
static __always_inline bool look_at_constants(void)
{
	__u64 bits = mplex_mac[0] & mplex_key[0] & mplex_mss_v4 & mplex_mss_v6 & mplex_window &
		     mplex_window_scale & mplex_sack & mplex_timestamps & mplex_ecn & mplex_ttl &
		     mplex_hop_limit & mplex_redirect & mplex_linear & mplex_local_v4_count &
		     mplex_local_v6_count & mplex_local_known & 256;

#ifndef WITHOUT_ADDRESSES
	bits &= mplex_local_v4[0] & mplex_local_v6[0][0];
#endif
	return bits;
}

SEC("xdp.frags")
int mplex_xdp(struct xdp_md *context)
{
	const __u8 *frame = (void *)(long)context->data, *end = (void *)(long)context->data_end;

#ifdef UNVERIFIABLE
	return *frame;
#endif
	if (is_ours(frame, end) && !look_at_constants())
		add(&counters, 0, end - frame);
	return 2; /* XDP_PASS */
}
#endif

#ifndef WITHOUT_TC
SEC("tc")
int mplex_ingress(struct __sk_buff *packet)
{
	if (is_ours((void *)(long)packet->data, (void *)(long)packet->data_end))
		add(&ingress_counters, 0, packet->len);
	return -1;
}

SEC("tc")
int mplex_egress(struct __sk_buff *packet)
{
	add(&ingress_counters, 1, packet->len);
	return -1;
}
#endif
