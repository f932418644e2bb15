/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_OBJECT_H
#define MPLEX_RUN_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manifest.h"
#include "section.h"

struct bpf_map;
struct bpf_object;
struct bpf_program;

/* An object that mplexc made: opened, its manifest checked, perhaps loaded. */
struct object {
	const char *path; /* the caller's */
	struct bytes file;
	struct manifest manifest;
	struct bpf_object *bpf;
	struct bpf_program *xdp, *ingress, *egress;  /* the last two: NULL where there is none */
	struct bpf_map *counters, *ingress_counters; /* the last one: NULL where there is none */
};

/*
 * Opens the object and checks its manifest; the kernel does not hear of it yet. Returns 0; or
 * -errno with a sentence in error, and then *out is untouched. Close with object_close.
 */
int object_open(const char *path, struct object *out, char *error, size_t n);

/*
 * Opens an object once more as it was when it was opened, whatever became of its file since: to
 * load it with other constants (state_replace). As object_open.
 */
int object_reopen(const struct object *object, struct object *out, char *error, size_t n);

void object_close(struct object *object);

/* The size in bytes of a constant of the object, 0 where the program does not use it. */
size_t object_constant_size(const struct object *object, const char *name);

/*
 * Sets a constant, before the load. size has to be the constant's, or less for an array whose rest
 * stays 0. Returns 0; -ENOENT where the program does not use it; -EINVAL where size is wrong.
 */
int object_set_constant(struct object *object, const char *name, const void *value, size_t size);

/*
 * Loads programs and maps into the kernel. frags says whether the XDP program is to see packets of
 * several buffers, where the kernel has such; with only_xdp the TC programs are left out. Returns 0
 * or -errno with a sentence.
 */
int object_load(struct object *object, bool frags, bool only_xdp, char *error, size_t n);

#endif
