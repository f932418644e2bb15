/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_COUNTERS_H
#define MPLEX_RUN_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

struct btf;
struct manifest;
struct object;

struct count {
	uint64_t packets, bytes;
};

/* All counters of an object at one time, each summed over the CPUs. */
struct counters {
	struct count *xdp; /* by the indexes of the manifest */
	size_t xdp_count;
	struct count *ingress; /* listener number * number of ingress reasons + reason */
	size_t ingress_count;
};

/*
 * Reads the counters of a loaded object. Returns 0, or -errno with a sentence, and then *out is
 * untouched. Free with counters_free.
 */
int counters_read(const struct object *object, struct counters *out, char *error, size_t n);

/* Likewise, by the BTF of the object and its maps alone; ingress is -1 where there is none. */
int counters_read_maps(const struct btf *btf, int xdp, int ingress, const struct manifest *manifest,
		       struct counters *out, char *error, size_t n);

void counters_free(struct counters *counters);

#endif
