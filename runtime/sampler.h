/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Has running programs sample packets, and reads the samples (docs/object.md, "Capture"). What
 * must be known of their maps comes from BTF. One process can do so at a time; when it dies, the
 * programs stop by themselves.
 */
#ifndef MPLEX_RUN_SAMPLER_H
#define MPLEX_RUN_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source;

enum {
	SNAPLEN_MAX = 65000, /* what a record of the kernel's perf buffer has room for */
	SOURCES = 2,
	WANTED_LISTENERS = 64,
	WANTED_REASONS = 32, /* of either list, at most */
};

/* Which packets to sample, and how many. */
struct sampling {
	unsigned rate;			   /* a second, on each CPU, at most */
	unsigned snaplen;		   /* bytes of each, up to SNAPLEN_MAX */
	uint64_t wanted[WANTED_LISTENERS]; /* by listener: a bit for each reason; those of the
					      hand-over from bit WANTED_REASONS on */
};

struct sample {
	uint64_t time;	/* ns since 1970 */
	bool hand_over; /* the index is one of ingress_counters */
	uint32_t index;
	uint32_t length;   /* on the wire */
	uint32_t captured; /* bytes in data */
	const uint8_t *data;
};

struct sample_counts {
	uint64_t skipped; /* packets above the rate */
	uint64_t lost;	  /* packets that found no room in the buffer */
};

typedef void (*sample_fn)(const struct sample *sample, void *data);

struct sampler {
	struct source *sources[SOURCES]; /* NULL: none more */
	sample_fn show;
	void *data;
};

/*
 * Starts. The programs' descriptors can be closed afterwards; ingress may be -1. Returns 0; -EBUSY
 * when another process samples; else -errno; each with a sentence. Release with sampler_close
 * either way.
 */
int sampler_open(struct sampler *sampler, int xdp, int ingress, const struct sampling *sampling,
		 sample_fn show, void *data, char *error, size_t n);

/* A descriptor that is readable when there are samples, of number i below SOURCES; or -1. */
int sampler_fd(const struct sampler *sampler, unsigned i);

/* Calls show for each sample that waits. Returns 0 or -errno. */
int sampler_read(struct sampler *sampler);

/* To be called once a second or so, or the programs stop. */
void sampler_renew(struct sampler *sampler);

/* Adds what was counted since sampler_open. */
void sampler_count(const struct sampler *sampler, struct sample_counts *counts);

void sampler_close(struct sampler *sampler);

#endif
