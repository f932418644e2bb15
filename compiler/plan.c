/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rules to plan: what the program must be able to do, the code shape of each tag table, and the
 * index of every counter.
 */
#include <errno.h>
#include <stdlib.h>

#include "diagnostic.h"
#include "dispatch.h"
#include "plan.h"

static void plan_families(struct plan *plan, const struct listener *listener)
{
	if (!listener->address_count)
		plan->ipv4 = plan->ipv6 = plan->local = true;
	for (size_t i = 0; i < listener->address_count; i++) {
		if (listener->addresses[i].family == 4)
			plan->ipv4 = true;
		else
			plan->ipv6 = true;
	}
}

static void plan_protocols(struct plan *plan, const struct listener *listener)
{
	if (listener->protocols & PROTOCOL_TCP)
		plan->tcp = true;
	if (!(listener->protocols & PROTOCOL_UDP))
		return;
	plan->udp = true;
	if (!listener_readdresses(listener))
		return;
	plan->readdress = true;
	if (listener->replies == REPLIES_TRACKED)
		plan->tracked = true;
	else if (listener->replies == REPLIES_STATELESS)
		plan->stateless = true;
}

bool listener_readdresses(const struct listener *listener)
{
	if (listener->otherwise.kind == ACTION_ROUTE && listener->otherwise.port != listener->port)
		return true;
	for (size_t i = 0; i < listener->route_count; i++)
		if (listener->routes[i].port != listener->port)
			return true;
	return false;
}

uint32_t listener_end(const struct listener *listener)
{
	uint32_t end = listener->tag.offset + listener->tag.length;

	for (size_t i = 0; i < listener->require_count; i++) {
		uint32_t require_end = listener->requires[i].offset + listener->requires[i].length;

		if (require_end > end)
			end = require_end;
	}
	return end;
}

static int plan_dispatch(struct listener_plan *planned, enum dispatch_choice choice,
			 struct diagnostics *diagnostics)
{
	const struct listener *listener = planned->listener;
	int error = dispatch_make(listener, choice, &planned->dispatch);

	if (error == -E2BIG) {
		diagnostics_error(diagnostics, listener->place,
				  "--dispatch=chain compares at most %d tags, one after the other, "
				  "and %s has %zu: leave the choice to mplexc (--dispatch=auto)",
				  CHAIN_MAX, listener->name, listener->route_count);
		return -EINVAL;
	}
	if (error == -ERANGE) {
		diagnostics_error(
			diagnostics, listener->place,
			"the tags of %s have '?' at more than %d sets of places: each set is "
			"a look-up of its own, so write tags that share theirs",
			listener->name, MASKS_MAX);
		return -EINVAL;
	}
	if (error == -ENOSPC) {
		diagnostics_error(
			diagnostics, listener->place,
			"no perfect hash was found for the tags of %s; please report this "
			"rule file, it is the first of its kind",
			listener->name);
		return -EINVAL;
	}
	return error;
}

/* Where replies are noted, or TCP is judged, a branch on the verdict follows anyway. */
static bool can_be_branch_free(const struct plan *plan, const struct listener_plan *planned)
{
	return planned->listener->protocols & PROTOCOL_UDP && plan->readdress && !plan->tracked &&
	       !plan->stateless && dispatch_can_be_branch_free(planned->dispatch);
}

/*
 * A judge that is inlined costs a datagram no call, but the verifier walks it for each way through
 * the headers that leads to it, up to a million instructions in all, and a jump reaches over
 * 32,767. The figures are what one more of each costs on Linux 6.18, compiled by clang 14; a
 * listener's first stage is in LISTENER_WALK.
 */
enum {
	LISTENER_WALK = 4600,
	COMPARE_WALK = 120,
	STAGE_WALK = 8000,
	WALK_MAX = 400 * 1000,
	LISTENER_SIZE = 40,
	COMPARE_SIZE = 10,
	STAGE_SIZE = 50,
	SIZE_MAX_INLINE = 16 * 1000,
	ADDRESSES_MAX_INLINE = 256, /* each some 330 instructions of the walk */
};

/* Words of eight bytes and less that are compared. */
static uint32_t count_compares(const struct listener_plan *planned)
{
	const struct listener *listener = planned->listener;
	uint32_t words = (listener->tag.length + 7) / 8;
	uint32_t count = dispatch_compare_count(planned->dispatch) * words;

	for (size_t i = 0; i < listener->require_count; i++) {
		uint32_t length = listener->requires[i].length;

		count += length / 8 + __builtin_popcount(length % 8);
	}
	return count;
}

static bool need_judge_functions(const struct plan *plan)
{
	uint64_t walk = 0, size = 0;

	for (size_t i = 0; i < plan->rules->listener_count; i++) {
		const struct listener_plan *planned = &plan->listeners[i];
		uint32_t compares = count_compares(planned);
		size_t stages = dispatch_stage_count(planned->dispatch);

		size += LISTENER_SIZE + compares * COMPARE_SIZE + stages * STAGE_SIZE;
		if (planned->listener->protocols & PROTOCOL_UDP)
			walk += LISTENER_WALK + compares * COMPARE_WALK + (stages - 1) * STAGE_WALK;
	}
	return walk > WALK_MAX || size > SIZE_MAX_INLINE;
}

static bool need_address_functions(const struct rules *rules)
{
	size_t count = 0;

	for (size_t i = 0; i < rules->listener_count; i++)
		count += rules->listeners[i].address_count;
	return count > ADDRESSES_MAX_INLINE;
}

static bool counts_routes(const struct listener *listener, enum count_choice choice)
{
	if (choice == COUNT_AUTO)
		return listener->route_count <= COUNTED_ROUTES_MAX;
	return choice == COUNT_ROUTES;
}

int plan_make(const struct rules *rules, const struct plan_options *options,
	      struct diagnostics *diagnostics, struct plan *plan)
{
	struct plan made = {.rules = rules};
	int error = 0;

	made.listeners = calloc(rules->listener_count, sizeof(*made.listeners));
	if (!made.listeners)
		return -ENOMEM;
	for (size_t i = 0; i < rules->listener_count; i++) {
		plan_families(&made, &rules->listeners[i]);
		plan_protocols(&made, &rules->listeners[i]);
	}
	made.reasons = reasons_of(made.tcp);
	made.counter_count = rules->listener_count * reason_count(made.reasons);
	for (size_t i = 0; i < rules->listener_count; i++) {
		struct listener_plan *planned = &made.listeners[i];

		planned->listener = &rules->listeners[i];
		planned->counters = i * reason_count(made.reasons);
		planned->count_routes = counts_routes(planned->listener, options->counters);
		if (planned->count_routes) {
			planned->route_counters = made.counter_count;
			made.counter_count += planned->listener->route_count;
		}
		error = plan_dispatch(planned, options->dispatch, diagnostics) ?: error;
		planned->branch_free = !error && can_be_branch_free(&made, planned);
		made.branch_free |= planned->branch_free;
	}
	if (error) {
		plan_free(&made);
		return error;
	}
	made.judge_functions = need_judge_functions(&made);
	made.address_functions = need_address_functions(rules);
	*plan = made;
	return 0;
}

void plan_free(struct plan *plan)
{
	for (size_t i = 0; plan->listeners && i < plan->rules->listener_count; i++)
		dispatch_free(plan->listeners[i].dispatch);
	free(plan->listeners);
	*plan = (struct plan){0};
}

void plan_explain(const struct plan *plan, FILE *out)
{
	for (size_t i = 0; i < plan->rules->listener_count; i++) {
		const struct listener_plan *planned = &plan->listeners[i];

		fprintf(out, "%s: %zu route%s, counted %s\n", planned->listener->name,
			planned->listener->route_count,
			planned->listener->route_count == 1 ? "" : "s",
			planned->count_routes ? "one by one" : "together");
		dispatch_explain(planned->dispatch, out);
		if (planned->branch_free)
			fputs("  No branch depends on whether the tag has a route.\n", out);
	}
	fprintf(out, "counters: %u, %u bytes on each CPU\n", plan->counter_count,
		plan->counter_count * 16);
	if (plan->judge_functions || plan->address_functions)
		fprintf(out,
			"functions: %s%s%s, at a call a packet; inlined, they would be too much for "
			"the verifier\n",
			plan->judge_functions ? "judges" : "",
			plan->judge_functions && plan->address_functions ? ", " : "",
			plan->address_functions ? "addresses" : "");
	fprintf(out, "programs: mplex_xdp%s%s\n",
		plan->tcp || plan->tracked ? ", mplex_ingress" : "",
		plan->tracked || plan->stateless ? ", mplex_egress" : "");
}

static const char *const udp_reasons[] = {"routed",    "tag",	   "length", "require",
					  "malformed", "fragment", NULL};
static const char *const tcp_reasons[] = {
	"routed",      "tag",	    "length",	 "require",	"malformed", "fragment",
	"established", "syn",	    "handshake", "keepalive",	"close",     "pending",
	"late",	       "time-wait", "stray",	 "no-way-back", "no-key",    NULL,
};

const char *const *reasons_of(bool tcp)
{
	return tcp ? tcp_reasons : udp_reasons;
}

uint32_t reason_count(const char *const *reasons)
{
	uint32_t count = 0;

	while (reasons[count])
		count++;
	return count;
}
