/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What `mplex-run capture` sees: packets as they came, with the index of their counter, sampled
 * into a perf buffer. While nobody captures, all it costs is one look at a variable.
 */
#pragma once
#include "judge.bpf.c"
#include "packet.bpf.c"

/* part: capture_samples (needs: kernel) */
enum {
	LISTENERS_MAX = 64,
	CAPTURE_HAND_OVER = 32, /* the bit of the first outcome of a hand-over in `wanted` */
	CAPTURE_BURST = 1000 * 1000 * 1000, /* ns: this long a CPU may save up samples */
	BPF_F_CURRENT_CPU = 0xffffffff,
	CAPTURED_SHIFT = 32, /* of the packet's bytes in bpf_perf_event_output's flags */
};

/* Written by who captures. */
struct capture {
	__u64 until;	/* CLOCK_MONOTONIC, ns; kept in the future. 0: nobody captures */
	__u64 interval; /* ns between two samples of a CPU */
	__u64 snaplen;
	__u64 wanted[LISTENERS_MAX]; /* by listener: a bit for each reason */
} capture;

/* What a sample begins with; bytes of the packet follow. */
struct capture_sample {
	__u64 time;	  /* CLOCK_MONOTONIC, ns */
	__u32 index;	  /* of the counter: in `counters`, or in `ingress_counters` */
	__u32 hand_over;  /* 1: in the latter */
	__u32 length;	  /* of the packet */
	__u32 captured;	  /* bytes of it that follow */
	__u32 vlan_proto; /* of a tag that the kernel took out of the packet; 0: none */
	__u32 vlan_tci;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} capture_samples SEC(".maps");

/* How a CPU samples: a token bucket, kept as a time. */
struct capture_sampling {
	__u64 next;    /* no sample before; CLOCK_MONOTONIC, ns */
	__u64 skipped; /* packets: the samples were used up */
	__u64 lost;    /* packets: the buffer was full */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_sampling);
} capture_sampling SEC(".maps");

/* Whether to sample a packet; if so, *sampling is where to say that it was lost. */
static __always_inline bool take_sample(__u32 listener, __u32 bit, __u64 now,
					struct capture_sampling **out)
{
	struct capture_sampling *sampling = bpf_map_lookup_elem(&capture_sampling, &(__u32){0});

	if (now > capture.until) { /* who captured was killed */
		capture.until = 0;
		return false;
	}
	if (!sampling || !(capture.wanted[listener % LISTENERS_MAX] >> bit & 1))
		return false;
	if (sampling->next + CAPTURE_BURST < now)
		sampling->next = now - CAPTURE_BURST;
	if (sampling->next > now) {
		sampling->skipped++;
		return false;
	}
	sampling->next += capture.interval;
	*out = sampling;
	return true;
}

static __always_inline __u32 cut_sample(__u32 length)
{
	return length < capture.snaplen ? length : capture.snaplen;
}

/* part: capture (needs: capture_samples, counter_index, ip_length_holds) */
__noinline int capture_xdp(struct xdp_md *xdp, __u32 listener, __u32 reason, __u32 index)
{
	struct capture_sample sample = {.time = bpf_ktime_get_ns(), .index = index};
	struct capture_sampling *sampling;

	if (!take_sample(listener, reason, sample.time, &sampling))
		return 0;
	sample.length = mplex_linear ? xdp->data_end - xdp->data : bpf_xdp_get_buff_len(xdp);
	sample.captured = cut_sample(sample.length);
	if (bpf_perf_event_output(xdp, &capture_samples,
				  (__u64)sample.captured << CAPTURED_SHIFT | BPF_F_CURRENT_CPU,
				  &sample, sizeof(sample)))
		sampling->lost++;
	return 0;
}

/* Stands before anything that changes the frame. */
static __always_inline void capture_packet(const struct packet *packet,
					   const struct verdict *verdict)
{
	if (capture.until)
		capture_xdp(packet->context, packet->listener, verdict->reason,
			    counter_index(packet, verdict));
}

/* part: capture_tc (needs: capture_samples, skb) */
__noinline int capture_tc(struct __sk_buff *skb, __u32 listener, __u32 outcome, __u32 index)
{
	struct capture_sample sample = {
		.time = bpf_ktime_get_ns(),
		.index = index,
		.hand_over = true,
		.length = skb->len,
		.captured = cut_sample(skb->len),
	};
	struct capture_sampling *sampling;

	if (!take_sample(listener, CAPTURE_HAND_OVER + outcome, sample.time, &sampling))
		return 0;
	if (skb->vlan_present) {
		sample.vlan_proto = bpf_ntohs(skb->vlan_proto);
		sample.vlan_tci = skb->vlan_tci;
	}
	if (bpf_perf_event_output(skb, &capture_samples,
				  (__u64)sample.captured << CAPTURED_SHIFT | BPF_F_CURRENT_CPU,
				  &sample, sizeof(sample)))
		sampling->lost++;
	return 0;
}
