/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is pinned of mplex, to be read by whoever wants to know (docs/object.md, "Pins").
 *
 *	/sys/fs/bpf/mplex/NETNSCOOKIE-IFINDEX/
 *	  xdp, ingress, egress   the links, where they stay by themselves
 *	  process                else: which process holds them, and where its generation is: in a
 *	                         BPF file system of its own, so that all of it ends with it
 *	  ID/                    one generation, named by the id of its XDP program
 *	    record               what was loaded and how (record.h)
 *	    btf                  the BTF of its object, by which its maps are read
 *	    totals               what earlier generations counted (totals.h)
 *	    confirm              there until the generation is confirmed (confirm.h)
 *	    programs/xdp, ...    its programs
 *	    maps/counters, ...   its maps, by name; ".rodata" is "rodata"
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

#include "record.h"

struct generation;
struct row;

/* Where the pins of one interface are. */
struct place {
	uint64_t netns; /* SO_NETNS_COOKIE; the namespace's inode before Linux 5.14 */
	unsigned ifindex;
	char path[96];
};

/* A generation that is attached. */
struct pinned {
	struct place place;
	char base[sizeof((struct place){}.path)]; /* the directory that its generation is in */
	struct record record;
	const char *tc;	  /* how its TC programs are attached: "tcx", "clsact", or "" */
	pid_t process;	  /* that holds it in the foreground; 0: it stays by itself */
	bool unconfirmed; /* it goes back to the generation before at `deadline` */
	int64_t deadline; /* seconds of CLOCK_BOOTTIME */
};

/*
 * The path of a BPF file system that ends with this process; NULL: it may not make one (that needs
 * CAP_SYS_ADMIN).
 */
const char *pinned_private(void);

/*
 * Makes the directory of all pins. Where no BPF file system is mounted that is a failure; or, with
 * private, one that ends with this process is used, which nobody finds, and a warning is written to
 * error. Returns 0, -ENOENT with the warning, or -errno with a sentence.
 */
int pinned_prepare(bool private, char *error, size_t n);

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

/*
 * The generation that it is, without its programs. It is a view, for functions that read one; what
 * it refers to stays the pinned one's.
 */
struct generation pinned_generation(const struct pinned *pinned);

/* Opens a map of it by the object's name for it: a file descriptor, or -errno. */
int pinned_map(const struct pinned *pinned, const char *name);

/*
 * All outcomes with what was counted since mplex was first attached, by generations before this
 * one, too, as report_rows has them. Strings are the record's. Returns 0; -ESTALE when it has been
 * replaced or detached meanwhile (open it anew); else -errno; each with a sentence, and then *out
 * and *count are untouched. Free *out.
 */
int pinned_rows(const struct pinned *pinned, struct row **out, size_t *count, char *error,
		size_t n);

#endif
