/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_COUNTERS_H
#define MPLEX_RUN_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

struct btf;

struct count {
	uint64_t packets, bytes;
};

/* All counters of an object at one time, each summed over the CPUs. */
struct counters {
	struct count *xdp; /* by the indexes of the manifest */
	size_t xdp_count;
	struct count *ingress; /* listener number * number of ingress reasons + reason; also those
				  of numbers that only other objects have */
	size_t ingress_count;
};

/*
 * Reads the counters of an object by its BTF and descriptors of its maps; ingress is -1 where they
 * are not wanted. Returns 0, or -errno with a sentence, and then *out is untouched. Free with
 * counters_free.
 */
int counters_read(const struct btf *btf, int xdp, int ingress, struct counters *out, char *error,
		  size_t n);

void counters_free(struct counters *counters);

#endif
