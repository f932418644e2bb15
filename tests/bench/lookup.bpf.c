/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The least that passing a segment of a live connection takes: its addresses and ports, and the
 * kernel's socket look-up. No rules, no counters; IPv4 without options only.
 */
typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16, __be16;
typedef signed int __s32;
typedef unsigned int __u32, __be32, __wsum;
typedef signed long long __s64;
typedef unsigned long long __u64, __be64;

struct xdp_md {
	__u32 data;
	__u32 data_end;
};

struct bpf_sock {
	__u32 state;
};

struct bpf_sock_tuple {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
};

#include <bpf/bpf_helpers.h>

struct headers {
	__u8 ethernet[14];
	__u8 ip[12];
	struct bpf_sock_tuple tuple; /* the end of one header and the start of the next */
} __attribute__((packed));

enum {
	XDP_DROP = 1,
	XDP_PASS = 2,
	CURRENT_NETNS = -1,
};

int mplex_xdp(struct xdp_md *xdp)
{
	const struct headers *headers = (void *)(long)xdp->data;
	struct bpf_sock_tuple tuple;
	struct bpf_sock *sock;

	if ((void *)(headers + 1) > (void *)(long)xdp->data_end)
		return XDP_DROP;
	tuple = headers->tuple;
	sock = bpf_skc_lookup_tcp(xdp, &tuple, sizeof(tuple), CURRENT_NETNS, 0);
	if (!sock)
		return XDP_DROP;
	bpf_sk_release(sock);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
