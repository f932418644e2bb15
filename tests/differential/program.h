/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A rule file's program in the kernel, to be run on single frames.
 */
#ifndef MPLEX_TESTS_PROGRAM_H
#define MPLEX_TESTS_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../../compiler/interpret.h"
#include "../../compiler/plan.h"
#include "../../compiler/rules.h"
#include "../../compiler/source.h"
#include "../../runtime/layout.h"
#include "../../runtime/object.h"
#include "traffic.h"

struct tally {
	uint64_t packets, bytes;
};

enum {
	PORTS = 65536
};

/* What is noted for TC by port, as docs/object.md has the two maps. */
struct ports {
	uint8_t bound[PORTS];
	struct replies {
		uint32_t port[PORTS];
		uint64_t flows_added;
	} replies;
};

struct program {
	struct source source;
	struct rules rules;
	struct object object;
	int xdp, counters;
	int ingress, egress, ingress_counters; /* -1 where there is no such */
	/* -1 where the program has no such map */
	int pending, flows, recent_flows, bound_ports, reply_ports;
	struct {
		struct extent bound_at, isn, port, mss, listener, client_scale, server_scale,
			scaling, sack, timestamps, ecn, tsval, tsecr, delivered, kept, drops;
	} pending_layout;
	struct extent flow_port;
	struct extent recent_ports, recent_addresses; /* the latter is the last member */
	struct replies *replies; /* the value of reply_ports, mapped, or NULL */
	uint32_t counter_count;
	struct tally *expected; /* of every counter, by what the interpreter said so far */
	struct ports *expected_ports;
	uint32_t instructions, tc_instructions; /* that the verifier went through, at most */
};

/* What the kernel made of a frame. */
struct observation {
	uint32_t action; /* enum xdp_action, or TC's */
	size_t length;
	uint64_t before, after; /* CLOCK_MONOTONIC, ns: the program ran between */
	uint8_t frame[FRAME_MAX + ANSWER_MAX];
};

/*
 * Takes a rule file through the compiler and clang into the kernel, with these constants. Returns 0
 * with *program, to be freed; or a negative errno after printing to out what failed.
 */
int program_make(const char *text, size_t size, const struct plan_options *options,
		 const struct host *host, FILE *out, struct program *program);

void program_free(struct program *program);

/*
 * Runs the program on the trial's frame, which arrives at the interface (0: loopback). Returns 0 or
 * a negative errno.
 */
int program_run(const struct program *program, const struct trial *trial, int interface,
		struct observation *observation);

/* The same with a TC program, by its descriptor. */
int program_run_tc(int program, const struct trial *trial, struct observation *observation);

/* Whether this kernel lets a test say how much of a frame is in its first buffer. */
bool kernel_splits_frames(void);

/* The counter of an outcome, or -ENOENT. */
int program_counter(const struct program *program, const struct outcome *outcome,
		    uint32_t *counter);

/* The hand-over's counter of a listener for a reason, and its tally. */
int program_ingress_counter(const struct program *program, uint32_t listener, const char *reason,
			    uint32_t *counter);
int program_ingress_counter_read(const struct program *program, uint32_t counter,
				 struct tally *tally);
int program_counter_read(const struct program *program, uint32_t counter, struct tally *tally);

/* What the program remembers of a tcp connection. All return 0 or a negative errno. */
struct memory {
	struct binding binding;
	uint16_t port;
	uint32_t listener;
	bool delivered, kept;
	uint32_t drops;
	uint64_t bound_at;
};

int program_pending_write(const struct program *program, const struct tuple *tuple,
			  const struct memory *memory);
int program_pending_read(const struct program *program, const struct tuple *tuple,
			 struct memory *memory);
int program_pending_forget(const struct program *program, const struct tuple *tuple);

/* The udp flow's other port: direction 0 from the backend port, 1 from the listen port. */
int program_flow_take(const struct program *program, const struct tuple *tuple, uint16_t port,
		      uint32_t direction, uint16_t *other);

/* As if a flow had pushed out another: the program will look each of them up again. */
void program_recent_forget(const struct program *program);

/*
 * What the program remembers of a flow that it saw a moment ago, each bit of which has to be the
 * flow's: how many, for an IP version; and turns one of them over. Returns 0, or -ENOENT where
 * nothing is remembered of the flow.
 */
size_t program_recent_bits(const struct program *program, uint8_t family);
int program_recent_turn(const struct program *program, const struct tuple *tuple, uint16_t backend,
			size_t bit);

/* Deletes a udp flow to the backend port behind the program's back. */
int program_flow_delete(const struct program *program, const struct tuple *tuple, uint16_t port);

/* Reads what is noted by port; what the program has no map for is 0. */
int program_ports_read(const struct program *program, struct ports *ports);

/* Deletes all entries of a map. Returns whether there were any. */
bool program_map_clear(int map);
bool program_flows_clear(const struct program *program);

#endif
