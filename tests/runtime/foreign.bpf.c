/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Somebody else's programs, for the tests of how mplex-run gets along with them. The TC program
 * counts the packets that it saw and ends the run of all behind it, as many do.
 */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, 2 /* BPF_MAP_TYPE_ARRAY */);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} foreign_seen SEC(".maps");

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("xdp")
int foreign_xdp(void *context)
{
	return 2; /* XDP_PASS */
}

SEC("tc")
int foreign_tc(void *context)
{
	__u32 key = 0;
	__u64 *seen = bpf_map_lookup_elem(&foreign_seen, &key);

	if (seen)
		__sync_fetch_and_add(seen, 1);
	return 0; /* TC_ACT_OK */
}
