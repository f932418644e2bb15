/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run follow IFACE, and the step that it and a run in the foreground take when addresses
 * change. The addresses are constants of a loaded program, so following them means to load the
 * object once more and to let it replace itself.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "changes.h"
#include "check.h"
#include "command.h"
#include "constants.h"
#include "error.h"
#include "follow.h"
#include "object.h"
#include "rights.h"
#include "rodata.h"
#include "scope.h"
#include "state.h"

/* Reads the object that runs again, if its file still is what it was. */
static int read_again(const struct record *record, struct object *object, char *error, size_t n)
{
	SCOPED(object_close) struct object opened = {};
	char why[ERROR_SIZE];
	int err = object_open(record->object, &opened, why, sizeof(why));

	if (err)
		return failed(error, n, -err, "%s", why);
	if (strcmp(opened.manifest.rules_sha256, record->manifest.rules_sha256) ||
	    strcmp(opened.manifest.version, record->manifest.version))
		return failed(error, n, ESTALE, "%s is not the object any more that runs",
			      record->object);
	*object = opened;
	memset(&opened, 0, sizeof(opened));
	return 0;
}

/* As follow, but the sentence says only why. */
static int load_anew(struct state *state, const struct interface *interface,
		     const struct addresses *addresses, struct object *held, char *error, size_t n)
{
	const struct record *record = &state->current.record;
	SCOPED(object_close) struct object object = {};
	SCOPED(scoped_free) char *path = strdup(record->object); /* the record will be another */
	const bool native = record->mode == MODE_NATIVE;
	struct change change = {
		.object = &object,
		.path = path,
		.mode = record->mode,
		.observe = record->observing,
		.frags = native,
		.addresses = addresses,
	};
	int err;

	if (!path)
		return failed(error, n, ENOMEM, "out of memory");
	err = held ? object_reopen(held, &object, error, n) : read_again(record, &object, error, n);
	if (!err)
		err = constants_set(&object, interface, addresses, native, error, n);
	if (!err)
		err = state_replace(state, &change, error, n);
	if (!err && held) {
		struct object before = *held;

		*held = object;
		object = before;
	}
	return err;
}

/* Whether a generation would be loaded with the same constants now. */
static bool still_holds(const struct generation *generation, const struct addresses *addresses,
			const struct constants *now)
{
	SCOPED(rodata_free) struct rodata rodata = {};

	if (rodata_read(generation, &rodata))
		return false;
	if (rodata_has_addresses(&rodata) &&
	    !addresses_equal(addresses, &generation->record.addresses))
		return false;
	for (size_t i = 0; i < now->count; i++) {
		if (rodata_differs(&rodata, &now->list[i]))
			return false;
	}
	return true;
}

int follow(struct state *state, struct interface *interface, struct object *held, char *error,
	   size_t n)
{
	SCOPED(addresses_free) struct addresses addresses = {};
	struct constants constants;
	struct interface now;
	char why[ERROR_SIZE];
	int err;

	err = host_interface(interface->name, &now, error, n);
	if (!err)
		err = host_addresses(&now, &addresses, error, n);
	if (!err)
		err = constants_collect(&now, state->current.record.mode == MODE_NATIVE, &constants,
					error, n);
	if (err)
		return err;
	*interface = now;
	if (still_holds(&state->current, &addresses, &constants))
		return 0;
	err = load_anew(state, &now, &addresses, held, why, sizeof(why));
	if (err)
		return failed(error, n, -err,
			      "addresses of the host or settings of %s have changed, and the "
			      "rules still go by what they were: %s",
			      now.name, why);
	return 1;
}

/* ---- the command ----------------------------------------------------------------------------- */

struct follower {
	const char *name;
	struct interface interface;
	struct place place;
};

/* Locks, looks, and lets go: between two changes others may replace and detach. */
static int look(struct follower *follower, char *error, size_t n)
{
	struct state state;
	int err = state_open(&state, &follower->place, &follower->interface, follower->name, true,
			     error, n);
	int done = 0;

	if (err)
		return err;
	if (!state.current.id)
		err = failed(error, n, ENOENT,
			     "nothing is pinned on %s: run \"mplex-run %s OBJECT --pin\" first",
			     follower->name, follower->name);
	else
		done = follow(&state, &follower->interface, NULL, error, n);
	if (done < 0)
		command_failed(error);
	if (done > 0) {
		printf("%s: loaded anew for the host's addresses as they are now\n",
		       follower->name);
		fflush(stdout);
	}
	state_close(&state);
	return err;
}

static int follow_until(struct follower *follower, int signals, struct changes *changes,
			char *error, size_t n)
{
	struct pollfd waits[] = {
		{.fd = signals, .events = POLLIN},
		{.fd = changes->fd, .events = POLLIN},
	};
	int err = look(follower, error, n);

	if (!err) {
		printf("%s: following the addresses of the host\n", follower->name);
		fflush(stdout);
	}
	while (!err) {
		int ready = poll(waits, 2, changes_timeout(changes));

		if (ready < 0)
			return failed(error, n, errno, "cannot wait: %s", strerror(errno));
		if (waits[0].revents)
			return 0;
		if (waits[1].revents) {
			err = changes_receive(changes, error, n);
		} else if (!ready) {
			changes->due = false;
			err = look(follower, error, n);
		}
	}
	return err;
}

static int follow_interface(const char *name)
{
	SCOPED(changes_close) struct changes changes = {.fd = -1};
	SCOPED(scoped_close) int signals = command_signals();
	struct follower follower = {.name = name};
	char error[ERROR_SIZE];
	int err;

	err = check_require(check_rights, NULL, error, sizeof(error));
	if (!err)
		err = host_interface(name, &follower.interface, error, sizeof(error));
	if (!err)
		err = pinned_prepare(false, error, sizeof(error));
	if (!err)
		err = pinned_find(follower.interface.name, &follower.place, error, sizeof(error));
	/* Before the first look, so that nothing is missed between the two. */
	if (!err)
		err = changes_open(&changes, follower.interface.name, follower.interface.index,
				   error, sizeof(error));
	if (!err) {
		rights_reduce();
		err = follow_until(&follower, signals, &changes, error, sizeof(error));
	}
	return err ? command_failed(error) : STATUS_DONE;
}

static int follow_main(int argc, char **argv)
{
	static const struct option names[] = {{}};

	if (command_option(argc, argv, &follow_command, names))
		return STATUS_USAGE;
	if (argc - optind != 1)
		return command_usage("an interface is needed");
	return follow_interface(argv[optind]);
}

const struct command follow_command = {
	.name = "follow",
	.arguments = "IFACE",
	.summary = "Stays, and lets what is pinned replace itself whenever the host's addresses "
		   "change",
	.main = follow_main,
};
