/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The outer program of most measurements: 64 packets for each run, each with a fresh tag.
 *
 * The program to be measured is linked in as a global function, mplex_xdp; so it is called, never
 * inlined, and all it lacks is its section's name. The same loop around a function that does
 * nothing is what the measuring itself costs.
 */
#include "drive.bpf.h"

enum {
	PACKETS = 64, /* per run */
};

SEC("xdp.frags")
int drive(struct xdp_md *ctx)
{
	__u64 number = state, counts = 0;

	for (int i = 0; i < PACKETS; i++) {
		if (!prepare(ctx, &number))
			return 0;
		/* A byte for each result; 64 packets cannot overflow one. */
		counts += 1ULL << ((mplex_xdp(ctx) & 7) * 8);
	}
	state = number;
	for (int i = 0; i < RESULTS; i++)
		results[i] += counts >> (i * 8) & 0xff;
	return 2;
}
