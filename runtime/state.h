/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state of one interface, to be changed: locked, and first brought in order.
 *
 * Every change has one step that decides, the update of the XDP link. What comes before it can be
 * undone, what comes after it can be done by anyone, and by looking at the kernel one can tell
 * which of both is due. So state_open completes or takes back what a process left that was killed.
 */
#ifndef MPLEX_RUN_STATE_H
#define MPLEX_RUN_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "attach.h"
#include "generation.h"
#include "pinned.h"

struct object;
struct row;

struct state {
	struct place place;
	const char *base;		   /* the directory that the generations are in */
	int lock;			   /* file descriptor */
	const struct interface *interface; /* the caller's; NULL: it is gone */
	const char *name;		   /* of it, for messages; the caller's */
	struct attachment attachment;
	struct generation current; /* id 0: nothing runs */
	char note[512];		   /* what had to be brought in order, a sentence; "": nothing */
};

/* Nothing yet. */
#define NO_STATE                                                                \
	((struct state){.lock = -1,                                             \
			.attachment = {.xdp = -1, .ingress = -1, .egress = -1}, \
			.current = {.programs = {.xdp = -1, .ingress = -1, .egress = -1}}})

/*
 * Locks the state at a place, which must not move until state_close, and brings it in order. With
 * wait it waits for the lock. Returns 0 or -errno with a sentence (-EBUSY: another mplex-run has
 * it), and then there is nothing to close.
 */
int state_open(struct state *state, const struct place *place, const struct interface *interface,
	       const char *name, bool wait, char *error, size_t n);

/*
 * Lets what runs stay if it is pinned, takes it off if it is not, and unlocks.
 */
void state_close(struct state *state);

/* From now on nothing that is attached outlives this process. Only where nothing runs yet. */
void state_unpin(struct state *state);

/* How an object is to be loaded. */
struct change {
	struct object *object; /* opened, its constants set; not loaded */
	const char *path;      /* of its file, absolute */
	enum mode mode;
	bool observe; /* count verdicts and carry out none; then TC has nothing to do */
	bool frags;   /* as object_load */
	const struct addresses *addresses; /* that it was given */
	unsigned confirm; /* seconds in which it has to be confirmed; 0: it need not be */
};

/*
 * Loads an object and puts it in place of what runs, if anything does: no packet goes by unjudged,
 * and connections, flows and counters go on. A warning about what could not go on is left in
 * state->note. Returns 0 or -errno with a sentence, and then what ran before runs on.
 */
int state_replace(struct state *state, const struct change *change, char *error, size_t n);

/* Ends the time in which the current generation could be taken back; whether it was running. */
bool state_confirm(struct state *state);

/* All outcomes with their totals, as report_rows has them. As pinned_rows. */
int state_rows(const struct state *state, struct row **out, size_t *count, char *error, size_t n);

/*
 * Takes everything off that is or was mplex's at a place, whole or not, and closes the state.
 * Returns whether there was anything.
 */
bool state_detach(struct state *state);

/* As state_open, for state_detach alone: brings nothing in order. */
int state_open_to_detach(struct state *state, const struct place *place,
			 const struct interface *interface, const char *name, char *error,
			 size_t n);

/*
 * Removes what interfaces that are gone left behind, in this network namespace, and in others where
 * that can be told; there also what processes left that are gone.
 */
void state_sweep(void);

#endif
