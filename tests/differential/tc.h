/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The TC programs against a model of them, frame by frame: UDP replies, ICMP errors about tracked
 * flows in both directions, and the hand-over of a connection's first segment.
 *
 * A kernel only takes a connection from a packet that arrived, which one of BPF_PROG_TEST_RUN did
 * not. So the hand-over is followed up to there: what would be delivered is counted as not-taken.
 * The network tests see the rest.
 */
#ifndef MPLEX_TESTS_TC_H
#define MPLEX_TESTS_TC_H

#include "network.h"
#include "program.h"
#include "traffic.h"

/* What the messages of one client have left in the maps `flows` and `reply_ports`. */
struct talk {
	struct tuple tuple; /* from the client to the listen port */
	uint16_t listen;
	size_t count;
	uint16_t backends[4]; /* that a tracked message went to */
	uint16_t last;	      /* of them: what the client heard of last */
};

/* What a segment meets at the hand-over. */
struct hand_over {
	struct tuple tuple;
	bool known; /* the tuple has the entry */
	struct memory memory;
	enum server_kind server; /* on memory.port */
	uint32_t drops;		 /* of its listener, so far */
	bool connected;		 /* the tuple has a live socket */
};

/* What differed, for a person; empty where nothing did. */
struct difference {
	char text[256];
};

/* Notes a message that XDP let pass to a backend port. */
void talk_note(struct talk *talk, uint16_t backend);

/* Run one frame; all return 0 with *difference filled in, or a negative errno. */
int tc_check_egress(struct program *program, struct talk *talk, const struct trial *trial,
		    struct difference *difference);
int tc_check_ingress(struct program *program, const struct talk *talk, const struct trial *trial,
		     struct difference *difference);
int tc_check_hand_over(struct program *program, struct hand_over *hand_over,
		       const struct trial *trial, struct difference *difference);

/* What the hand-over is expected to count, or NULL; as a name for what was tried. */
const char *tc_last_reason(void);

#endif
