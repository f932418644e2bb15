/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rules: what a rule file says, checked and complete.
 *
 * This is the output of rules.c and the only input of everything behind it: planning, emission and
 * the interpreter. All defaults are filled in, every number is in range, no two listeners can match
 * the same packet, and no two patterns of a listener contradict each other. Code that takes a
 * struct rules relies on that and checks nothing again.
 *
 * Numbers are in host order, addresses and tags are bytes in the order of the wire.
 */
#ifndef MPLEX_RULES_H
#define MPLEX_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diagnostics;
struct source;

enum {
	TAG_MAX = 32,		  /* bytes of a text or hex tag */
	TAG_UINT_MAX = 8,	  /* bytes of a uint tag */
	NAME_MAX_LENGTH = 32,	  /* characters of a listener's name */
	LISTENERS_MAX = 64,	  /* a packet is compared with each in turn */
	REQUIRES_MAX = 16,	  /* per listener */
	ADDRESSES_MAX = 64,	  /* per listener */
	PAYLOAD_MAX = 65507,	  /* the largest UDP payload over IPv4 */
	FIRST_SEGMENT = 496,	  /* a first TCP segment shorter than this is whole messages */
	FIRST_SEGMENT_MAX = 1428, /* bytes a full-sized first segment is sure to bring */
};

/* Bits, so that a listener can have both. */
enum protocol {
	PROTOCOL_TCP = 1 << 0,
	PROTOCOL_UDP = 1 << 1,
};

enum tag_type {
	TAG_TEXT,
	TAG_HEX,
	TAG_UINT,
};

enum tag_order {
	ORDER_BIG,
	ORDER_LITTLE,
};

enum reply_mode {
	REPLIES_TRACKED,
	REPLIES_STATELESS,
	REPLIES_NONE,
};

/* What becomes of a packet that carries a whole, well-formed message. */
enum action_kind {
	ACTION_ROUTE,  /* to the local port `port` */
	ACTION_PASS,   /* to the listen port itself */
	ACTION_REFUSE, /* by tcp reset or drop, as the listener says */
};

struct action {
	enum action_kind kind;
	uint16_t port; /* ACTION_ROUTE only, else 0 */
};

/* Where a thing stands in the rule file: 0-based byte offsets into the source. */
struct place {
	size_t offset;
	size_t length;
};

/*
 * The tags a route stands for. value, mask and last have tag.length significant bytes, the rest 0;
 * last is all 0 where it means nothing.
 *
 * PATTERN_EXACT: the tag equals value. mask is all ones.
 * PATTERN_MASK:  tag & mask equals value (value has no bit outside mask).
 * PATTERN_RANGE: value <= tag <= last, both ends included, compared as a number: bytes in wire
 *                order for text, hex and big-endian uint, reversed for little-endian uint. For
 *                text every byte of the tag must also be a digit. mask is all ones; value and last
 *                differ.
 */
enum pattern_kind {
	PATTERN_EXACT,
	PATTERN_MASK,
	PATTERN_RANGE,
};

struct pattern {
	enum pattern_kind kind;
	uint8_t value[TAG_MAX];
	uint8_t mask[TAG_MAX];
	uint8_t last[TAG_MAX];
};

/*
 * Routes are sorted: by value, then mask, then last, bytes compared as memcmp does. Where patterns
 * lie inside each other the innermost decides, whatever the order.
 */
struct route {
	struct pattern pattern;
	uint16_t port;	    /* 1..65535 */
	const char *text;   /* the tag as the rule file has it, without quotes; printable ASCII */
	struct place place; /* of the tag */
};

struct require {
	uint32_t offset;	/* into the payload */
	uint32_t length;	/* of bytes and mask, 1..TAG_MAX */
	uint8_t bytes[TAG_MAX]; /* no bit outside mask */
	uint8_t mask[TAG_MAX];
};

/* A destination address or prefix. */
struct address {
	uint8_t family;	   /* 4 or 6 */
	uint8_t prefix;	   /* bits, 0..32 or 0..128 */
	uint8_t bytes[16]; /* 4 or 16 of them, host bits 0, the rest 0 */
};

/* Bytes that a test writes over the payload, after the zeros and the requires. */
struct test_bytes {
	uint32_t offset;
	uint32_t length;
	const uint8_t *bytes;
};

struct test {
	uint32_t length;       /* of the payload, 0..PAYLOAD_MAX; every test_bytes lies inside */
	struct test_bytes *at; /* sorted by offset */
	size_t at_count;
	struct action expect; /* ACTION_ROUTE with a port, ACTION_PASS or ACTION_REFUSE */
	struct place place;
	uint32_t line; /* of the place, from 1 */
};

struct listener {
	const char *name; /* [a-z][a-z0-9_]*, at most NAME_MAX_LENGTH: it becomes part of C names */
	unsigned protocols; /* of enum protocol, at least one */
	uint16_t port;	    /* 1..65535 */
	uint32_t length_min,
		length_max; /* payload bytes of one message, 1 <= min <= max <= PAYLOAD_MAX */
	struct {
		enum tag_type type;
		enum tag_order order; /* uint only */
		uint32_t offset;      /* into the payload; offset + length <= length_min */
		uint32_t length;      /* bytes */
	} tag;
	struct route *routes; /* at least one */
	size_t route_count;
	struct action otherwise; /* a message whose tag has no route */
	bool reset;		 /* refuse by TCP reset; UDP is always refused by drop */
	enum reply_mode replies; /* UDP */
	struct require
		*requires; /* sorted by offset, then length; none overlaps the next one's bytes
			      with a contradiction; each ends at or before length_min */
	size_t require_count;
	struct address *addresses; /* sorted: family, bytes, prefix; empty: the host's own */
	size_t address_count;
	struct test *tests; /* in the order of the file */
	size_t test_count;
	struct place place; /* of the name */
};

struct rules {
	struct listener *listeners; /* sorted by name, at least one */
	size_t listener_count;
	const char *file;   /* the rule file's name without its folders; letters, digits, '.', '_',
			       '-', '+', '<' and '>' as they are, any other byte as '_' */
	uint8_t sha256[32]; /* of the rule file's bytes */
	void *arena;	    /* owns everything above */
};

/*
 * Reads the rules out of a source. Everything that is wrong is added to diagnostics, at its place.
 * Returns 0, or -EINVAL when there was at least one error, or -ENOMEM; on failure *rules is
 * untouched. Free with rules_free.
 */
int rules_read(const struct source *source, struct diagnostics *diagnostics, struct rules *rules);

/* Frees what rules_read made; harmless on a zeroed struct. */
void rules_free(struct rules *rules);

/* Whether the tag, tag.length bytes in wire order, is one of the pattern's. */
bool pattern_matches(const struct listener *listener, const struct pattern *pattern,
		     const uint8_t *tag);

#endif
