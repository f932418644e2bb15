/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where `mplex-run capture` looks in. It traces the two functions that do nothing here: each gets a
 * packet as it came, and the index of its counter. While nobody captures they are not called.
 */
#pragma once
#include "judge.bpf.c"
#include "packet.bpf.c"

/* part: capture_until (needs: kernel) */
/* CLOCK_MONOTONIC, ns; 0: nobody captures. Whoever does keeps it in the future. */
__u64 capture_until;

/* One that was killed does not: the next packet ends it. */
static __always_inline int end_capture(void)
{
	if (bpf_ktime_get_ns() > capture_until)
		capture_until = 0;
	return 0;
}

/* part: capture (needs: capture_until, counter_index) */
__noinline int capture_xdp(struct xdp_md *xdp, __u32 index)
{
	barrier_var(xdp); /* clang would not pass what nothing uses */
	barrier_var(index);
	return end_capture();
}

/* Stands before anything that changes the frame. */
static __always_inline void capture(const struct packet *packet, const struct verdict *verdict)
{
	if (capture_until)
		capture_xdp(packet->context, counter_index(packet, verdict));
}

/* part: capture_tc (needs: capture_until, skb) */
__noinline int capture_tc(struct __sk_buff *skb, __u32 index)
{
	barrier_var(skb);
	barrier_var(index);
	return end_capture();
}
