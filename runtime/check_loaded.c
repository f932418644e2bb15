/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A loaded program knows addresses, MTU and sysctls as they were at its load, and cannot learn of a
 * change. So what it was given is compared with what it would be given now.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "check.h"
#include "check_loaded.h"
#include "constants.h"
#include "error.h"
#include "finding.h"
#include "generation.h"
#include "host.h"
#include "lock.h"
#include "pinned.h"
#include "rodata.h"
#include "scope.h"

/* What can be done about what was loaded: the rules have to be loaded again. */
static void mended_by_a_load(const struct pinned *pinned, const struct interface *interface,
			     struct findings *findings)
{
	/* What a process holds would not be replaced but refused. */
	if (!pinned->process)
		mended_by(findings, "mplex-run %s %s", interface->name, pinned->record.object);
}

/* ---- the programs -------------------------------------------------------------------------- */

static bool xdp_runs(const struct interface *interface, uint32_t id)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	if (bpf_xdp_query(interface->index, 0, &query))
		return false;
	return id == query.prog_id || id == query.drv_prog_id || id == query.skb_prog_id ||
	       id == query.hw_prog_id;
}

static void look_at_programs(const struct pinned *pinned, const struct interface *interface,
			     struct findings *findings)
{
	const struct record *record = &pinned->record;
	const struct {
		const char *name;
		uint32_t id;
		bool runs;
	} programs[] = {
		{"mplex_xdp", record->xdp, xdp_runs(interface, record->xdp)},
		{"mplex_ingress", record->ingress,
		 tc_program_runs(interface, true, record->ingress)},
		{"mplex_egress", record->egress, tc_program_runs(interface, false, record->egress)},
	};
	bool all = true;

	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++) {
		if (!programs[i].id || programs[i].runs)
			continue;
		all = false;
		found(findings, "programs", VERDICT_PROBLEM,
		      "%s (id %u) is not attached to %s any more: somebody took it off",
		      programs[i].name, programs[i].id, interface->name);
		mended_by_a_load(pinned, interface, findings);
	}
	if (all)
		found(findings, "programs", VERDICT_OK, "all programs are attached");
}

/* ---- what they were given ------------------------------------------------------------------ */

static void look_at_addresses(const struct pinned *pinned, const struct interface *interface,
			      const struct rodata *rodata, struct findings *findings)
{
	SCOPED(addresses_free) struct addresses now = {};
	char error[ERROR_SIZE];

	if (!rodata_has_addresses(rodata))
		return;
	if (host_addresses(interface, &now, error, sizeof(error))) {
		found(findings, "addresses", VERDICT_UNKNOWN, "%s", error);
	} else if (addresses_equal(&now, &pinned->record.addresses)) {
		found(findings, "addresses", VERDICT_OK,
		      "the host has the addresses that the rules were loaded with");
	} else {
		found(findings, "addresses", VERDICT_PROBLEM,
		      "the host's addresses have changed, and the rules serve those it had: load "
		      "them again");
		mended_by_a_load(pinned, interface, findings);
	}
}

static void look_at_constants(const struct pinned *pinned, const struct interface *interface,
			      const struct rodata *rodata, struct findings *findings)
{
	struct constants now;
	char error[ERROR_SIZE];
	const char *last = "";
	bool all = true;

	if (constants_collect(interface, pinned->record.mode == MODE_NATIVE, &now, error,
			      sizeof(error))) {
		found(findings, "constants", VERDICT_UNKNOWN, "%s", error);
		return;
	}
	for (size_t i = 0; i < now.count; i++) {
		const struct constant *constant = &now.list[i];

		/* Several constants come from the MTU. */
		if (!rodata_differs(rodata, constant) || !strcmp(last, constant->source))
			continue;
		all = false;
		last = constant->source;
		found(findings, "constants", constant->vital ? VERDICT_PROBLEM : VERDICT_WARNING,
		      "%s has changed since the rules were loaded, which still go by what it was: "
		      "load them again",
		      constant->source);
		mended_by_a_load(pinned, interface, findings);
	}
	if (all)
		found(findings, "constants", VERDICT_OK,
		      "interface and sysctls are as the rules were loaded with");
}

/* ---- what is left of changes --------------------------------------------------------------- */

static void look_at_leftovers(const struct pinned *pinned, struct findings *findings)
{
	SCOPED(scoped_free) uint32_t *ids = NULL;
	int expected = 1 + (pinned->unconfirmed && pinned->record.previous), count;

	/* Whoever holds the lock is at it; a process in the foreground always does. */
	if (!pinned->process && lock_is_held(pinned->place.path))
		return;
	count = generation_list(pinned->base, &ids);
	if (count > expected)
		found(findings, "pins", VERDICT_WARNING,
		      "a change was broken off and left %d generation%s behind: the next mplex-run "
		      "on this interface brings it in order",
		      count - expected, count - expected == 1 ? "" : "s");
}

static void look_at_confirmation(const struct pinned *pinned, const struct interface *interface,
				 struct findings *findings)
{
	struct timespec now;

	if (!pinned->unconfirmed)
		return;
	clock_gettime(CLOCK_BOOTTIME, &now);
	if (now.tv_sec <= pinned->deadline) {
		found(findings, "confirm", VERDICT_WARNING,
		      "the rules are not confirmed yet, and are taken back in %lld seconds",
		      (long long)(pinned->deadline - now.tv_sec));
		mended_by(findings, "mplex-run confirm %s", interface->name);
	} else {
		found(findings, "confirm", VERDICT_PROBLEM,
		      "the rules were not confirmed in time, and whoever was to take them back has "
		      "not: the next mplex-run on this interface does");
	}
}

void check_loaded(const struct pinned *pinned, const struct interface *interface,
		  struct findings *findings)
{
	const struct subject subject = {
		.interface = interface,
		.manifest = &pinned->record.manifest,
		.path = pinned->record.object,
		.mode = pinned->record.mode,
	};
	const struct generation generation = pinned_generation(pinned);
	SCOPED(rodata_free) struct rodata rodata = {};
	int err;

	check_interface(&subject, findings);
	look_at_programs(pinned, interface, findings);
	check_kfuncs(&subject, findings);
	check_sysctls(&subject, findings);
	err = rodata_read(&generation, &rodata);
	if (err) {
		found(findings, "constants", VERDICT_UNKNOWN,
		      "cannot read what the rules were loaded with: %s", strerror(-err));
	} else {
		look_at_addresses(pinned, interface, &rodata, findings);
		look_at_constants(pinned, interface, &rodata, findings);
	}
	look_at_leftovers(pinned, findings);
	look_at_confirmation(pinned, interface, findings);
}
