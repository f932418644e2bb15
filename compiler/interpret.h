/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The interpreter: what the rules make of one frame, as a function.
 *
 * It predicts what the emitted program does at XDP: the verdict, the reason that is counted, and
 * every byte of a frame that is changed or answered. It is written from the documents, in plain C
 * and without regard to speed, and shares no code with emission or the templates: `mplexc --test`
 * runs a rule file's own examples through it, and the differential tests hold the program in the
 * kernel against it.
 *
 * Where the documents leave a choice, this is the one taken:
 * - VLAN tags are 0x8100 and 0x88a8, in any order. A frame with a third is not ours.
 * - IPv6 extension headers walked over are hop-by-hop, routing, fragment, authentication,
 *   destination options, mobility, HIP and Shim6; every other one ends the walk, and the packet is
 *   not ours. Every one counts towards the eight, an atomic fragment header, too.
 * - A first fragment is `fragment` even where its lengths contradict each other, which they do.
 * - "Port bytes were read" speaks of the frame, not of the IP length: a frame with port bytes in
 *   its padding is ours, and malformed.
 * - Header checksums are not verified: the kernel does that behind the program, and a checksum
 *   that the sender left to its network card would not hold yet.
 * - A tcp packet that needs the key and finds none is `no-key` whatever it carries.
 * - Addresses that no host can have are, for IPv4, 0/8, 127/8, 224/3 and the destination; for IPv6
 *   ::, ::1, ff00::/8 and the destination. A SYN from one is `stray`.
 * - A copy of a judged first segment passes as `pending`, at any age and in any state but live: the
 *   hand-over knows whether it was delivered.
 * - In TIME_WAIT a segment whose cookie binds is treated as without: its handshake is absorbed, its
 *   probe and its FIN are answered. The kernel would answer them out of the old connection. Only
 *   data that would bind ends the state first.
 * - A segment with more than one byte at the place of a probe is none, whatever its cookie:
 * `stray`, also when it is late.
 * - An MSS option of 0 counts as none.
 * - An ACK carries a timestamp if the segment did and the constant allows it: else none was agreed.
 * - A packet with VLAN tags, or from an IPv6 link-local address, is answered to its sender: the
 *   route that the host knows is another interface's, or it is the sender's already.
 * - While it only observes, an entry of `pending` stands for a cookie: made by a SYN that would be
 *   answered, as old as that, it waits for the first data, which is judged once; also of a live
 *   connection, which the kernel made.
 * - The bytes that are counted are those of the IP packet, by its own account.
 */
#ifndef MPLEX_INTERPRET_H
#define MPLEX_INTERPRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules.h"

enum {
	HOST_ADDRESSES_MAX = 64,
};

/* Both ends of a packet, bytes as on the wire; the source is the client. */
struct tuple {
	uint8_t family;			     /* 4 or 6 */
	uint8_t source[16], destination[16]; /* 4 or 16 bytes of each */
	uint8_t source_port[2], destination_port[2];
};

/* What a loader writes into the object: the constants of docs/object.md, 0 where unset. */
struct host {
	uint8_t mac[6];
	bool local_known;
	uint32_t local_v4_count, local_v6_count;
	uint8_t local_v4[HOST_ADDRESSES_MAX][4];
	uint8_t local_v6[HOST_ADDRESSES_MAX][16];
	uint64_t key[2];
	uint16_t mss_v4, mss_v6;
	uint16_t window;
	uint8_t window_scale; /* 255: never offered */
	bool sack, timestamps, ecn;
	uint8_t ttl, hop_limit;
	bool redirect;
	bool observe; /* count every verdict, carry out none */
	bool linear;  /* every frame is in one buffer, which changes no outcome */
};

/* What the kernel's socket lookup says about the tuple of a tcp packet. */
enum socket_state {
	SOCKET_NONE, /* nothing, or only a listener */
	SOCKET_LIVE,
	SOCKET_TIME_WAIT,
};

/* What a tcp packet's fate hangs on beside rules, host and frame. */
struct situation {
	uint64_t now; /* CLOCK_MONOTONIC, ns */
	struct {
		enum socket_state state;
		/* SOCKET_TIME_WAIT only */
		uint32_t rcv_nxt;
		uint32_t ts_recent; /* the client's last timestamp, 0 if it sent none */
	} socket;
	struct {
		bool present;	/* the tuple has an entry */
		bool waiting;	/* for the first data, while it only observes */
		uint32_t isn;	/* the client's */
		uint64_t bound; /* CLOCK_MONOTONIC, ns: when the entry was written */
	} pending;
	struct {
		bool other_interface; /* the route to the client leaves elsewhere */
		bool neighbour_known; /* next_hop holds */
		uint8_t next_hop[6];
	} way_back;
};

enum verdict {
	VERDICT_PASS,
	VERDICT_DROP,
	VERDICT_TX,
	VERDICT_REDIRECT,
};

/* What the hand-over of a connection to its server takes. */
struct binding {
	uint32_t isn; /* the client's */
	uint16_t mss; /* the client's, as the cookie remembers it */
	bool scaling, sack, ecn, timestamps;
	uint8_t client_scale, server_scale; /* where scaling */
	uint32_t tsval, tsecr;		    /* of the segment, where timestamps */
	bool delivered;			    /* observing: nothing is left to hand over */
};

struct outcome {
	enum verdict verdict;
	const char *reason;		 /* as counted, or NULL for a packet that is not ours */
	const struct listener *listener; /* NULL for a packet that is not ours */
	const struct route *route;	 /* of a message that has one, else NULL */
	struct tuple tuple;		 /* of a packet that is ours */
	uint16_t port; /* the local port whose server gets the message, 0 where none does */
	bool binds;    /* the message opens a tcp connection; then binding says which */
	struct binding binding;
	bool waits;   /* observing: its entry of `pending` is made, and waits for the data of an ISN
		       */
	bool forgets; /* observing: its entry of `pending` is gone */
	bool ends;    /* a live tcp connection: its entry of `pending` is marked */
	size_t length; /* of the frame afterwards */
	size_t bytes;  /* counted */
};

/* No answer is longer: Ethernet, two VLAN tags, IPv6, TCP with 20 bytes of options. */
enum {
	ANSWER_MAX = 14 + 2 * 4 + 40 + 40,
};

/*
 * Applies the rules to a frame, Ethernet header first. What leaves the program, changed or not, is
 * written to result, which has room for the larger of length and ANSWER_MAX; for VERDICT_DROP it
 * is the frame as it came. Returns 0, or -EIO when libcrypto fails; then *outcome is untouched.
 */
int interpret(const struct rules *rules, const struct host *host, const struct situation *situation,
	      const uint8_t *frame, size_t length, struct outcome *outcome, uint8_t *result);

/*
 * The cookie. Of its 32 bits, the sequence number of a SYN-ACK, 31..11 are hash, 10..8 the window
 * counter, and 7..0 what the client's SYN offered and we accept.
 */
enum {
	COOKIE_MSS = 0x03,	    /* an index into the table of the address family */
	COOKIE_WINDOW_SCALE = 0x3c, /* the client's shift; 15: none */
	COOKIE_WINDOW_SCALE_SHIFT = 2,
	COOKIE_SACK = 0x40,
	COOKIE_ECN = 0x80,
	COOKIE_OPTIONS = 0xff,
	COOKIE_COUNTER_SHIFT = 8,
	COOKIE_COUNTER = 0x7,	    /* after the shift */
	COOKIE_WINDOW_NS_LOG2 = 36, /* one window is 2^36 ns */
	COOKIE_BINDS = 1,	    /* the highest age in windows that still binds */
};

/*
 * The cookie for a client's initial sequence number in one time window (ns >> 36), with the given
 * option bits. Returns 0, or -EIO when libcrypto fails.
 */
int cookie_make(const struct host *host, const struct tuple *tuple, uint32_t isn, uint64_t window,
		uint8_t options, uint32_t *cookie);

#endif
