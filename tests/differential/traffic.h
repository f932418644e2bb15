/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Random traffic: frames made to measure for a set of rules, and what they meet on arrival.
 */
#ifndef MPLEX_TESTS_TRAFFIC_H
#define MPLEX_TESTS_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../compiler/interpret.h"
#include "random.h"

enum {
	FRAME_MIN = 14,		/* the kernel tests nothing shorter */
	FRAME_MIN_TC = 14 + 40, /* with an IPv6 header */
	FRAME_MAX = 66000,
	FRAME_MAX_LINEAR = 3400, /* in the one buffer that the kernel tests it in */
};

/* Where a client's answer goes, by the routes of network.h. */
enum way_back {
	WAY_SENDER,    /* no forwarding on the interface: back to the sender */
	WAY_NEIGHBOUR, /* a neighbour with a known Ethernet address */
	WAY_UNKNOWN,   /* a neighbour without */
	WAY_GATEWAY,   /* behind a neighbour with a known Ethernet address */
	WAY_OTHER,     /* by another interface */
	WAY_NONE,      /* no route */
	WAYS,
};

/* One frame and its circumstances; situation.now is the tester's to fill in. */
struct trial {
	struct situation situation;
	struct tuple tuple;   /* of the frame as it was meant */
	uint64_t pending_age; /* ns, where situation.pending.present */
	bool delivered;	      /* that entry, which must not matter */
	enum way_back way;
	size_t linear;	  /* bytes of the frame in its first buffer; 0: as many as the kernel puts
			     there */
	size_t transport; /* where the TCP or UDP header was written */
	size_t length;
	uint8_t frame[FRAME_MAX];
};

struct traffic {
	struct random *random;
	const struct rules *rules;
	const struct host *host;
	uint64_t now; /* CLOCK_MONOTONIC, ns: what cookies are made for */
};

/* Random constants that a loader could have written. */
void host_draw(struct random *random, struct host *host);

/* A frame of any kind, to a listener or nearly so. Returns 0, or -EIO when libcrypto fails. */
int trial_draw(const struct traffic *traffic, struct trial *trial);

/* A clean SYN from a client that lies in this direction. */
int trial_draw_routed(const struct traffic *traffic, const struct listener *listener,
		      enum way_back way, struct trial *trial);

/* A clean frame of one protocol and address family to a listener, to be varied. */
int trial_draw_plain(const struct traffic *traffic, const struct listener *listener,
		     enum protocol protocol, uint8_t family, struct trial *trial);

/* What a message is to be like. */
struct message {
	const struct listener *listener;
	const struct route *route; /* whose tag it carries */
	unsigned protocol;	   /* 0: any that the listener has */
	const struct tuple *tuple; /* both ends, or NULL: any */
	size_t length;		   /* of the payload; 0: the shortest that is right */
};

/* A message in a clean packet. */
int trial_draw_message(const struct traffic *traffic, const struct message *message,
		       struct trial *trial);

/* Any tcp segment between the two ends of a connection that the kernel knows. */
int trial_draw_connection(const struct traffic *traffic, const struct listener *listener,
			  const struct tuple *tuple, const struct situation *situation,
			  struct trial *trial);

/* A datagram from a backend port to the client of a tuple, or nearly so. */
void trial_draw_reply(const struct traffic *traffic, const struct tuple *tuple, uint16_t backend,
		      uint16_t listen, struct trial *trial);

/*
 * An ICMP error about a datagram, or nearly so. Outwards, the host tells the client of the tuple
 * about a message to the tuple's port; inwards, it hears about a reply that left from there.
 */
void trial_draw_error(const struct traffic *traffic, const struct tuple *tuple, bool outwards,
		      uint16_t turned, struct trial *trial);

/* A segment of the tuple, the first one behind that ISN or another, as TC meets it. */
void trial_draw_segment(const struct traffic *traffic, const struct tuple *tuple, uint32_t isn,
			struct trial *trial);

/* Behind the last byte of a message that is looked at. */
size_t end_of_judged(const struct listener *listener);

/* A client's address, most often a possible one. */
void client_draw(struct random *random, uint8_t family, uint8_t address[16]);

/* Whether the listener has packets of a family, and a random address of its. */
bool listener_has_family(const struct traffic *traffic, const struct listener *listener,
			 uint8_t family);
void address_draw(const struct traffic *traffic, const struct listener *listener, uint8_t family,
		  uint8_t address[16]);

#endif
