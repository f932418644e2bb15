/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The outer program where packets are real and go on as the measured program says: one for each
 * run, with a fresh tag, else as drive.bpf.c.
 */
#include "drive.bpf.h"

SEC("xdp")
int drive(struct xdp_md *ctx)
{
	__u64 number = state;
	int result;

	if (!prepare(ctx, &number))
		return 0;
	state = number;
	result = mplex_xdp(ctx);
	results[result & 7]++;
	return result;
}
