/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Changes what runs on an interface, so that at every instant, and after every way to die, one
 * whole generation runs, or none.
 *
 * A replacement, and what is due if it ends there:
 *
 *	pin the new generation           remove it
 *	update or attach TC programs     put those of the old one back, remove it
 *	update the XDP link              ---- from here on the new one is the current one ----
 *	carry the totals                 carry them
 *	detach TC programs not needed    detach them
 *	remove the old generation        remove it
 *
 * settle() does whatever of the right column is due; it is the end of every change, and the begin.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "carry.h"
#include "confirm.h"
#include "constants.h"
#include "document.h"
#include "error.h"
#include "host.h"
#include "kernel.h"
#include "lock.h"
#include "object.h"
#include "scope.h"
#include "state.h"
#include "totals.h"
#include "version.h"

enum {
	PATH_SIZE = 256,
	DROPPED_SIZE = 256,
};

static void place_path(const struct state *state, const char *name, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "%s/%s", state->place.path, name);
}

static void remove_generations(const struct state *state)
{
	SCOPED(scoped_free) uint32_t *ids = NULL;
	int count = generation_list(state->base, &ids);

	for (int i = 0; i < count; i++)
		generation_remove(state->base, ids[i]);
}

/* Everything off, and nothing left but the directory and its lock. Returns whether there was any.
 */
static bool clear(struct state *state)
{
	SCOPED(scoped_free) uint32_t *ids = NULL;
	bool any = generation_list(state->base, &ids) > 0 || state->attachment.xdp >= 0 ||
		   *attachment_tc(&state->attachment);
	char path[PATH_SIZE];

	detach(&state->attachment);
	remove_generations(state);
	place_path(state, "process", path);
	unlink(path);
	generation_close(&state->current);
	return any;
}

/* Makes another generation the one that runs. */
static int switch_to(struct state *state, const struct generation *to, char *error, size_t n)
{
	int err;

	if (!state->interface)
		return failed(error, n, ENODEV, "interface %s is gone", state->name);
	err = attach_tc(&state->attachment, state->interface, &to->programs, error, n);
	return err ? err
		   : attach_xdp(&state->attachment, state->interface, to->record.mode,
				to->programs.xdp, to->record.object, error, n);
}

/* Opens the generation before the current one. Returns -ENOENT where it is not there, or no more.
 */
static int open_previous(const struct state *state, struct generation *out, char *error, size_t n)
{
	uint32_t id = state->current.record.previous;
	int err = id ? generation_open(state->base, id, out, error, n) : -ENOENT;

	/* Its removal had begun. */
	return err == -EINVAL ? -ENOENT : err;
}

static int open_current(struct state *state, char *error, size_t n)
{
	char why[ERROR_SIZE];
	uint32_t id;
	int err = attachment_program(&state->attachment, &id);

	if (err)
		return failed(error, n, -err, "cannot tell what is attached to %s: %s", state->name,
			      strerror(-err));
	generation_close(&state->current);
	if (!id)
		return 0;
	err = generation_open(state->base, id, &state->current, why, sizeof(why));
	return err ? failed(error, n, -err,
			    "what is attached to %s cannot be understood: %s; use the mplex-run that "
			    "attached it, or take it off with \"mplex-run detach %s\"",
			    state->name, why, state->name)
		   : 0;
}

/* Nobody confirmed the current generation in time. */
static int roll_back(struct state *state, char *error, size_t n)
{
	SCOPED(generation_close) struct generation previous = NO_GENERATION;
	int err = open_previous(state, &previous, error, n);

	if (err == -ENOENT) {
		snprintf(state->note, sizeof(state->note),
			 "%s: the rules of %s were not confirmed in time and have been detached: "
			 "nothing ran before them",
			 state->name, state->current.record.manifest.rules_file);
		clear(state);
		return 0;
	}
	if (!err)
		err = switch_to(state, &previous, error, n);
	if (err)
		return err;
	snprintf(
		state->note, sizeof(state->note),
		"%s: the rules of %s were not confirmed in time: those of %s (sha256 %.12s...) run "
		"again",
		state->name, state->current.record.manifest.rules_file,
		previous.record.manifest.rules_file, previous.record.manifest.rules_sha256);
	return open_current(state, error, n);
}

/* Whether a generation has to stay for a while, to go back to. */
static bool is_wanted(const struct state *state, uint32_t id)
{
	return id == state->current.id ||
	       (confirm_waits(&state->current) && id == state->current.record.previous);
}

/* What a generation leaves to the one that took over from it, whichever was there first. */
static int hand_over(const struct state *state, const struct generation *from, char *error,
		     size_t n)
{
	/* It counts no more once every program that ran at the switch has ended. */
	int err = kernel_wait_for_programs();

	if (err)
		return failed(error, n, -err, "cannot wait for the programs of %s to end: %s",
			      state->name, strerror(-err));
	carry_reply_ports(from, &state->current);
	return from->id == state->current.record.previous
		       ? totals_carry(&state->current, from, error, n)
		       : totals_absorb(&state->current, from, error, n);
}

static int carry_totals(const struct state *state, char *error, size_t n)
{
	SCOPED(generation_close) struct generation previous = NO_GENERATION;
	int err;

	if (totals_there(&state->current))
		return 0;
	err = open_previous(state, &previous, error, n);
	if (err)
		return err == -ENOENT ? 0 : err;
	return hand_over(state, &previous, error, n);
}

/* Removes all other generations; the counts of one that ran last, and was taken back, first. */
static int remove_others(const struct state *state, char *error, size_t n)
{
	SCOPED(scoped_free) uint32_t *ids = NULL;
	int count = generation_list(state->base, &ids), err = 0;
	char why[ERROR_SIZE];

	for (int i = 0; i < count && !err; i++) {
		SCOPED(generation_close) struct generation other = NO_GENERATION;

		if (is_wanted(state, ids[i]))
			continue;
		if (!generation_open(state->base, ids[i], &other, why, sizeof(why)) &&
		    other.record.previous == state->current.id)
			err = hand_over(state, &other, error, n);
		if (!err)
			generation_remove(state->base, ids[i]);
	}
	return err;
}

/* Of a process in the foreground nobody else could tell what it runs. */
static int note_process(const struct state *state, char *error, size_t n)
{
	json_t *document;
	char path[PATH_SIZE];
	int err;

	place_path(state, "process", path);
	if (state->attachment.pins) {
		unlink(path);
		return 0;
	}
	document = json_pack("{s:i, s:s, s:I, s:b}", "process", (int)getpid(), "generations",
			     state->base, "program", (json_int_t)state->current.id, "clsact",
			     !strcmp(attachment_tc(&state->attachment), "clsact"));
	err = document ? document_pin(document, path, error, n)
		       : failed(error, n, ENOMEM, "out of memory");
	json_decref(document);
	return err;
}

/* Brings everything in line with what the XDP link runs. */
static int settle(struct state *state, char *error, size_t n)
{
	int err = open_current(state, error, n);

	if (err)
		return err;
	if (state->current.id && confirm_is_late(&state->current))
		err = roll_back(state, error, n);
	if (err)
		return err;
	if (!state->current.id) {
		if (clear(state) && !*state->note)
			snprintf(
				state->note, sizeof(state->note),
				"%s: removed what an mplex-run had left that did not end by itself",
				state->name);
		return 0;
	}
	err = carry_totals(state, error, n);
	if (!err && state->interface)
		err = attach_tc(&state->attachment, state->interface, &state->current.programs,
				error, n);
	if (err)
		return err;
	detach_tc(&state->attachment, &state->current.programs);
	err = remove_others(state, error, n);
	return err ? err : note_process(state, error, n);
}

/* The lock, and what there is. */
static int take(struct state *state, const struct place *place, const struct interface *interface,
		const char *name, bool wait, char *error, size_t n)
{
	int err;

	*state = NO_STATE;
	state->place = *place;
	state->interface = interface;
	state->name = name;
	state->lock = lock_directory(state->place.path, name, wait, error, n);
	if (state->lock < 0)
		return state->lock;
	state->base = state->attachment.pins = state->place.path;
	err = attachment_open(&state->attachment, interface, error, n);
	if (err)
		state_close(state);
	return err;
}

int state_open_to_detach(struct state *state, const struct place *place,
			 const struct interface *interface, const char *name, char *error, size_t n)
{
	return take(state, place, interface, name, false, error, n);
}

int state_open(struct state *state, const struct place *place, const struct interface *interface,
	       const char *name, bool wait, char *error, size_t n)
{
	int err = take(state, place, interface, name, wait, error, n);

	if (err)
		return err;
	err = settle(state, error, n);
	if (err)
		state_close(state);
	return err;
}

void state_unpin(struct state *state)
{
	state->attachment.pins = NULL;
	state->base = pinned_private() ?: state->place.path;
}

void state_close(struct state *state)
{
	if (state->lock < 0)
		return;
	if (!state->attachment.pins)
		clear(state);
	attachment_close(&state->attachment);
	generation_close(&state->current);
	/* Succeeds only where nothing is pinned; while it is locked, so that nobody is in between.
	 */
	rmdir(state->place.path);
	close(state->lock);
	*state = NO_STATE;
}

bool state_detach(struct state *state)
{
	bool any = clear(state);

	state_close(state);
	return any;
}

/* What is to run: the object's programs, but TC's that run already and are the same. */
static struct programs choose_programs(const struct state *state, const struct change *change)
{
	const struct programs *running = &state->current.programs;
	const struct object *object = change->object;

	if (change->observe)
		return (struct programs){bpf_program__fd(object->xdp), -1, -1};
	return (struct programs){
		.xdp = bpf_program__fd(object->xdp),
		.ingress = carry_program(object, object->ingress, running->ingress),
		.egress = carry_program(object, object->egress, running->egress),
	};
}

static int prepare(struct state *state, const struct change *change, struct generation *out,
		   char *error, size_t n)
{
	const struct record *before = state->current.id ? &state->current.record : NULL;
	struct programs programs = choose_programs(state, change);
	time_t now = time(NULL);
	const struct record record = {
		.tool = MPLEX_VERSION,
		.interface = state->name,
		.object = change->path,
		.since = before ? before->since : now,
		.loaded = now,
		.mode = change->mode,
		.observing = change->observe,
		.previous = state->current.id,
		.addresses = *change->addresses,
	};
	int err = generation_pin(state->base, change->object, &programs, &record, error, n);

	return err ? err : generation_open(state->base, program_id(programs.xdp), out, error, n);
}

/* What the new one could not take over. */
static void warn_of_dropped(struct state *state, const char *dropped)
{
	if (*dropped)
		snprintf(
			state->note, sizeof(state->note),
			"%s: the new object has %s in another layout, so what was known there is "
			"forgotten: clients that have just connected, or wait for a reply, may have to "
			"try again",
			state->name, dropped);
}

static int load(struct state *state, const struct change *change, char *error, size_t n)
{
	char dropped[DROPPED_SIZE] = "";
	int err = 0;

	if (state->current.id)
		err = carry_state(change->object, &state->current, dropped, sizeof(dropped), error,
				  n);
	if (!err)
		err = constants_set_byte(change->object, "mplex_observe", change->observe, error,
					 n);
	if (!err)
		err = object_load(change->object, change->frags, change->observe, error, n);
	if (!err)
		warn_of_dropped(state, dropped);
	return err;
}

int state_replace(struct state *state, const struct change *change, char *error, size_t n)
{
	SCOPED(generation_close) struct generation next = NO_GENERATION;
	char note[sizeof(state->note)], why[ERROR_SIZE];
	int err, unsettled;

	*state->note = '\0';
	if (state->current.id && confirm_waits(&state->current))
		return failed(error, n, EBUSY,
			      "the rules of %s on %s wait to be confirmed: run \"mplex-run confirm "
			      "%s\" first, or wait until those before them run again",
			      state->current.record.manifest.rules_file, state->name, state->name);
	err = load(state, change, error, n);
	if (!err)
		err = prepare(state, change, &next, error, n);
	if (!err && change->confirm)
		err = confirm_start(state, &next, change->confirm, error, n);
	if (!err)
		err = switch_to(state, &next, error, n);
	memcpy(note, state->note, sizeof(note));
	unsettled = settle(state, why, sizeof(why));
	memcpy(state->note, note, sizeof(note));
	if (!err && unsettled)
		snprintf(state->note, sizeof(state->note),
			 "%s: the new rules run, but what was to follow has failed, and the next "
			 "mplex-run will try again: %.*s",
			 state->name, (int)sizeof(state->note) / 2, why);
	return err;
}

bool state_confirm(struct state *state)
{
	char why[ERROR_SIZE];

	if (!confirm_end(&state->current))
		return false;
	settle(state, why, sizeof(why));
	return true;
}

int state_rows(const struct state *state, struct row **out, size_t *count, char *error, size_t n)
{
	return totals_rows(state->base, &state->current, out, count, error, n);
}

/*
 * Whether a place belongs to an interface that is no more, or else to a process that is no more, as
 * far as that can be told of another network namespace.
 */
static bool is_left_behind(const struct place *place, uint64_t netns)
{
	struct attachment attachment = NO_ATTACHMENT;
	char path[PATH_SIZE], name[IFNAMSIZ];
	uint32_t id;
	bool dead;

	if (place->netns == netns)
		return !if_indextoname(place->ifindex, name);
	snprintf(path, sizeof(path), "%s/xdp", place->path);
	attachment.xdp = bpf_obj_get(path);
	if (attachment.xdp < 0)
		return errno == ENOENT && !lock_is_held(place->path);
	dead = !attachment_program(&attachment, &id) && !id;
	attachment_close(&attachment);
	return dead;
}

void state_sweep(void)
{
	SCOPED(scoped_free) struct place *places = NULL;
	char error[ERROR_SIZE];
	uint64_t netns;
	size_t count;

	if (pinned_netns(&netns, error, sizeof(error)) ||
	    pinned_list(&places, &count, error, sizeof(error)))
		return;
	for (size_t i = 0; i < count; i++) {
		struct state state;

		if (is_left_behind(&places[i], netns) &&
		    !state_open_to_detach(&state, &places[i], NULL, "?", error, sizeof(error)))
			state_detach(&state);
	}
}
