/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The plan: every decision about the program, made before the first line of it is written.
 *
 * Which parts of the templates the rules need, which code shape each tag table gets, and where each
 * counter stands. Emission reads the plan and decides nothing.
 */
#ifndef MPLEX_PLAN_H
#define MPLEX_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "rules.h"

struct diagnostics;
struct dispatch;

enum dispatch_choice {
	DISPATCH_AUTO,
	DISPATCH_CHAIN,
	DISPATCH_HASH,
};

enum count_choice {
	COUNT_AUTO,
	COUNT_ROUTES,
	COUNT_LISTENERS, /* the routes of each together */
};

/* More routes than this are counted one by one only when asked to. */
enum {
	COUNTED_ROUTES_MAX = 1024,
};

struct plan_options {
	enum dispatch_choice dispatch;
	enum count_choice counters;
};

struct listener_plan {
	const struct listener *listener;
	struct dispatch *dispatch; /* how its tags are looked up */
	bool count_routes;
	bool branch_free;	 /* no branch depends on whether the tag has a route */
	uint32_t counters;	 /* index of its first reason */
	uint32_t route_counters; /* index of its first route, where count_routes */
};

struct plan {
	const struct rules *rules;
	struct listener_plan *listeners; /* rules->listener_count */
	bool tcp, udp;			 /* some listener has it */
	bool ipv4, ipv6;		 /* some listener has such addresses */
	bool local;			 /* some listener has the host's own addresses */
	bool readdress;			 /* some udp listener has another destination port */
	bool tracked, stateless;	 /* and such replies */
	bool branch_free;		 /* some listener is */
	bool judge_functions;		 /* each judge is a global function, which the verifier */
	bool address_functions;		 /* walks once; each listener's list of addresses is */
	const char *const *reasons;	 /* names of the outcomes, ended by NULL */
	uint32_t counter_count;
};

/*
 * Plans the program for the rules, which must outlive the plan. What the rules ask for and cannot
 * have (a chain of too many tags) is added to diagnostics. Returns 0, -EINVAL or -ENOMEM; on
 * failure *plan is untouched. Free with plan_free.
 */
int plan_make(const struct rules *rules, const struct plan_options *options,
	      struct diagnostics *diagnostics, struct plan *plan);

void plan_free(struct plan *plan);

/* Whether some udp message to the listener gets another destination port. */
bool listener_readdresses(const struct listener *listener);

/* Payload bytes up to the end of the last one that is looked at. */
uint32_t listener_end(const struct listener *listener);

/* The outcomes that a packet of ours can have (docs/object.md), ended by NULL. */
const char *const *reasons_of(bool tcp);
uint32_t reason_count(const char *const *reasons);

/* --explain: what was chosen, why and at what cost, for people. */
void plan_explain(const struct plan *plan, FILE *out);

#endif
