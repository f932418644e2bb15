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
		planned->count_routes = options->count_routes ||
					planned->listener->route_count <= COUNTED_ROUTES_MAX;
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
