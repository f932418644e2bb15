/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is pinned of mplex, to be read by whoever wants to know (docs/object.md, "Pins").
 *
 *	/sys/fs/bpf/mplex/NETNSCOOKIE-IFINDEX/
 *		xdp, ingress, egress		links; not there while a process runs in the
 *foreground PROGRAM/			one generation, named by the id of its XDP program record
 *what was loaded and how: struct record totals			what earlier generations counted
 *			confirm			there until the generation is confirmed
 *			programs/xdp, ...	its programs
 *			maps/counters, ...	its maps, by name; ".rodata" is "rodata"
 *
 * The generation that counts is the one whose program the XDP link runs: the kernel's word, not a
 * note of ours. Reading needs no lock: a generation never changes, it only comes and goes.
 */
#ifndef MPLEX_RUN_PINNED_H
#define MPLEX_RUN_PINNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach.h"
#include "host.h"
#include "manifest.h"

struct row;

/* Where the pins of one interface are. */
struct place {
	uint64_t netns; /* SO_NETNS_COOKIE; the namespace's inode before Linux 5.14 */
	unsigned ifindex;
	char path[96];
};

/* What was noted when a generation was loaded. Strings and arrays belong to the record. */
struct record {
	const char *tool;      /* version of mplex-run */
	const char *interface; /* its name then */
	const char *object;    /* path, absolute */
	int64_t since;	       /* seconds since 1970: when mplex was first attached here */
	int64_t loaded;	       /* likewise: when this generation was loaded */
	enum mode mode;
	const char *tc;		       /* "tcx", "clsact" or "" */
	uint32_t xdp, ingress, egress; /* ids of its programs; 0: none */
	uint32_t previous;	       /* id of the generation before; 0: none */
	struct addresses addresses;    /* the host's own that it was loaded with */
	struct manifest manifest;
	void *document; /* owns the strings */
};

/* A generation that is attached. */
struct pinned {
	struct place place;
	struct record record;
	pid_t process;	  /* that holds it in the foreground; 0: it stays by itself */
	bool unconfirmed; /* it was given until `deadline` to be confirmed */
	int64_t deadline; /* seconds of CLOCK_BOOTTIME */
};

/* This network namespace, as `struct place` has it. Returns 0 or -errno with a sentence. */
int pinned_netns(uint64_t *out, char *error, size_t n);

/*
 * All interfaces with pins, of all network namespaces, sorted; none is no error. Returns 0 or
 * -errno with a sentence, and then *out and *count are untouched. Free *out.
 */
int pinned_list(struct place **out, size_t *count, char *error, size_t n);

/*
 * Finds the place of an interface of this network namespace by its name, whether it has pins or
 * not; also an interface that is gone, where a record still has its name. Returns 0 or -errno with
 * a sentence, and then *out is untouched.
 */
int pinned_find(const char *interface, struct place *out, char *error, size_t n);

/*
 * Reads what is attached at a place. Returns 0; -ENOENT where nothing is: never was, or what is
 * left there is half done and waits for the next mplex-run; else -errno; each with a sentence, and
 * then *out is untouched. Release with pinned_close.
 */
int pinned_open(const struct place *place, struct pinned *out, char *error, size_t n);

void pinned_close(struct pinned *pinned);

/* Opens a map of it by the object's name for it: a file descriptor, or -errno. */
int pinned_map(const struct pinned *pinned, const char *name);

/*
 * All outcomes with what was counted since mplex was first attached, by generations before this
 * one, too, as report_rows has them. Strings are the record's. Returns 0 or -errno with a sentence,
 * and then *out and *count are untouched. Free *out.
 */
int pinned_rows(const struct pinned *pinned, struct row **out, size_t *count, char *error,
		size_t n);

#endif
