/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One generation on an interface: an object as it was loaded once, pinned in a directory of its own
 * (pinned.h) that has the id of its XDP program as name.
 */
#ifndef MPLEX_RUN_GENERATION_H
#define MPLEX_RUN_GENERATION_H

#include <stddef.h>
#include <stdint.h>

#include "attach.h"
#include "record.h"

struct btf;
struct object;

enum {
	GENERATION_PATH = 128
};

struct generation {
	uint32_t id; /* of its XDP program; 0: there is none */
	char path[GENERATION_PATH];
	struct record record;
	struct programs programs; /* its own file descriptors */
};

/* None. */
#define NO_GENERATION ((struct generation){.programs = {.xdp = -1, .ingress = -1, .egress = -1}})

/*
 * Pins a loaded object below a place: its programs, its maps, the record. programs are those that
 * it will run with, the record is complete but for their ids and the manifest. Returns 0 or -errno
 * with a sentence; what was pinned by then stays until generation_remove.
 */
int generation_pin(const char *place, const struct object *object, const struct programs *programs,
		   const struct record *record, char *error, size_t n);

/*
 * Opens one. Returns 0; -ENOENT where it is not there or not whole; else -errno; each with a
 * sentence, and then *out is untouched. Release with generation_close.
 */
int generation_open(const char *place, uint32_t id, struct generation *out, char *error, size_t n);

void generation_close(struct generation *generation);

/* Opens a map of it by the object's name for it: a file descriptor, or -errno. */
int generation_map(const struct generation *generation, const char *name);

/* The BTF of its object, from its pin; NULL where that cannot be read. Free with btf__free. */
struct btf *generation_btf(const struct generation *generation);

/* The path of one of its pins ("totals"). */
void generation_path(const struct generation *generation, const char *name,
		     char path[GENERATION_PATH + 64]);

/*
 * The ids of all generations at a place, whole or not. Returns their number, 0 where there is no
 * such place, or -ENOMEM. Free *out.
 */
int generation_list(const char *place, uint32_t **out);

/* Removes one, whole or not. */
void generation_remove(const char *place, uint32_t id);

/* The id of a program, 0 where it cannot be told. */
uint32_t program_id(int program);

#endif
