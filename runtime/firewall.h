/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_FIREWALL_H
#define MPLEX_RUN_FIREWALL_H

#include <stddef.h>
#include <stdint.h>

struct json_t;

/* A packet as netfilter sees it first, behind XDP and TC. */
struct firewall_packet {
	uint8_t version;       /* of IP, 4 or 6 */
	uint8_t protocol;      /* IPPROTO_TCP: data in mid-stream; IPPROTO_UDP: a datagram */
	uint16_t port;	       /* destination, host order */
	const char *state;     /* of connection tracking: "new" or "invalid" */
	const char *interface; /* that it came in by */
};

enum firewall_fate {
	FIREWALL_PASSES,
	FIREWALL_DEPENDS, /* on what the packet does not say, its source address for instance */
	FIREWALL_DROPS,
};

/* Strings are the ruleset's. */
struct firewall_answer {
	enum firewall_fate fate;
	/* The base chain that drops it or may; NULL where it passes. */
	const char *family, *table, *chain;
	char what[64];	  /* DROPS: "rule 7 of chain other" or "the policy" */
	char depends[64]; /* DEPENDS: on what: "ip saddr" */
};

/*
 * Reads the rules of this network namespace through libnftables, in its JSON schema
 * (libnftables-json(5)). Returns 0; -ENOENT where that library is not installed; or -errno, each
 * with a sentence, and then *out is untouched. Release with json_decref.
 */
int firewall_read(struct json_t **out, char *error, size_t n);

/*
 * What the rules do to the packet on its way in: at ingress, prerouting and input. Pure: touches
 * nothing but its arguments. A ruleset of any shape will do; what is not understood counts as
 * something that the packet does not say.
 */
void firewall_judge(const struct json_t *ruleset, const struct firewall_packet *packet,
		    struct firewall_answer *answer);

#endif
