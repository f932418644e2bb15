/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The manifest: what an object says of itself (docs/object.md), checked and complete.
 *
 * Everything in it has been validated: numbers are in range, names are printable, every test refers
 * to a listener that exists. Whether its counter indexes fit the object's maps is asked separately,
 * once the maps are known. Numbers are in host order, addresses in the order of the wire. Strings
 * and arrays belong to the manifest.
 */
#ifndef MPLEX_RUN_MANIFEST_H
#define MPLEX_RUN_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MANIFEST_FORMAT = 1,	  /* the newest format that is understood */
	MANIFEST_LISTENERS = 64,  /* at most */
	MANIFEST_REASONS = 64,	  /* at most, of either list */
	MANIFEST_PAYLOAD = 65507, /* bytes of a test's payload, at most */
};

/* Bits, so that a listener can have both. */
enum manifest_protocol {
	MANIFEST_TCP = 1 << 0,
	MANIFEST_UDP = 1 << 1,
};

/* Which replies of its servers, over udp, get the listen port as source. */
enum manifest_replies {
	MANIFEST_NONE,
	MANIFEST_TRACKED,   /* to clients that wrote to it */
	MANIFEST_STATELESS, /* all */
};

/* What becomes of a message: of a test's, or of one whose tag has no route. */
enum manifest_expect {
	EXPECT_ROUTE, /* to a port */
	EXPECT_PASS,  /* to the listen port */
	EXPECT_REFUSE,
};

struct manifest_sysctl {
	const char *name; /* with dots */
	int64_t min;	  /* the least value that will do */
};

struct manifest_address {
	uint8_t family;	   /* 4 or 6 */
	uint8_t prefix;	   /* bits */
	uint8_t bytes[16]; /* 4 or 16 of them */
};

struct manifest_route {
	const char *tag; /* as the rule file has it */
	uint16_t port;
	uint32_t counter; /* index into the map `counters` */
};

struct manifest_listener {
	const char *name;
	unsigned protocols; /* of enum manifest_protocol, at least one */
	uint16_t port;
	enum manifest_expect otherwise; /* EXPECT_REFUSE where it is not said */
	enum manifest_replies replies;
	uint32_t counters;		    /* index of its first reason in the map `counters` */
	struct manifest_address *addresses; /* none: the host's own */
	size_t address_count;
	uint16_t *ports; /* all local ports that messages go to */
	size_t port_count;
	struct manifest_route *routes; /* none where routes are not counted one by one */
	size_t route_count;
};

struct manifest_bytes {
	uint32_t at;	 /* offset into the payload */
	uint32_t length; /* bytes; at + length lies within the payload */
	const char *hex; /* 2 * length hex digits */
};

struct manifest_test {
	uint32_t listener;		 /* index */
	enum manifest_protocol protocol; /* one of the listener's */
	uint32_t line;			 /* of the rule file */
	uint32_t length;		 /* of the payload, 0..MANIFEST_PAYLOAD */
	struct manifest_bytes *bytes;	 /* written over zeros, in this order */
	size_t bytes_count;
	enum manifest_expect expect;
	uint16_t port; /* EXPECT_ROUTE only, else 0 */
};

struct manifest {
	const char *version; /* of the compiler */
	const char *rules_file;
	const char *rules_sha256; /* 64 hex digits */
	const char **kfuncs;
	size_t kfunc_count;
	struct manifest_sysctl *sysctls;
	size_t sysctl_count;
	const char **reasons;
	size_t reason_count;
	const char **ingress_reasons;
	size_t ingress_reason_count;
	const char **refusals; /* reasons of both lists after which no server gets the message */
	size_t refusal_count;
	struct manifest_listener *listeners; /* at least one */
	size_t listener_count;
	struct manifest_test *tests;
	size_t test_count;
	void *document; /* owns the strings */
};

/*
 * Reads the bytes of a manifest section: JSON, ended by a NUL. Pure: touches nothing but its
 * arguments. Returns 0; or -EINVAL (malformed), -ENOTSUP (a format newer than MANIFEST_FORMAT) or
 * -ENOMEM with a sentence in error, and then *out is untouched. Free with manifest_free.
 */
int manifest_parse(const void *data, size_t size, struct manifest *out, char *error, size_t n);

/* Frees what manifest_parse made; harmless on a zeroed struct. */
void manifest_free(struct manifest *manifest);

/*
 * Checks every counter index against the number of entries that the object's maps `counters` and
 * `ingress_counters` have (0: there is no such map). Returns 0, or -EINVAL with a sentence.
 */
int manifest_check_counters(const struct manifest *manifest, uint32_t counters,
			    uint32_t ingress_counters, char *error, size_t n);

/* Writes the payload of a test, test->length bytes. */
void manifest_test_payload(const struct manifest_test *test, uint8_t *payload);

/*
 * Whether a reason means that a packet of the listener reaches no server: a refusal, but for "tag"
 * where other messages are routed or passed.
 */
bool manifest_refuses(const struct manifest *manifest, const struct manifest_listener *listener,
		      const char *reason);

/* Whether some listener has the protocol. */
bool manifest_has(const struct manifest *manifest, enum manifest_protocol protocol);

#endif
