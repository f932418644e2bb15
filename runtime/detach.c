/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run detach [IFACE]: takes everything of mplex's off, of one interface or of all in this
 * network namespace; also what is half there, and what an interface left that is gone.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "check.h"
#include "command.h"
#include "error.h"
#include "host.h"
#include "scope.h"
#include "state.h"

static void say_detached(const char *interface, bool json)
{
	json_t *event;

	if (!json) {
		printf("%s: detached\n", interface);
		return;
	}
	event = json_pack("{s:s, s:s}", "event", "detached", "interface", interface);
	json_dumpf(event, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(event);
}

/* Returns 0; -ENOENT where nothing was there; else -errno; each with a sentence. */
static int detach_place(const struct place *place, const char *name, bool json, char *error,
			size_t n)
{
	struct interface interface;
	struct state state;
	char why[ERROR_SIZE];
	bool gone = host_interface(name, &interface, why, sizeof(why)) ||
		    interface.index != place->ifindex;
	int err = state_open_to_detach(&state, place, gone ? NULL : &interface, name, error, n);

	if (err)
		return err;
	if (!state_detach(&state))
		return failed(error, n, ENOENT, "nothing of mplex is attached to %s", name);
	say_detached(name, json);
	return 0;
}

static int detach_one(const char *name, bool json)
{
	struct place place;
	char error[ERROR_SIZE];
	int err = pinned_find(name, &place, error, sizeof(error));

	if (!err)
		err = detach_place(&place, name, json, error, sizeof(error));
	return err ? command_failed(error) : STATUS_DONE;
}

static int detach_all(bool json)
{
	SCOPED(scoped_free) struct place *places = NULL;
	int status = STATUS_DONE, err;
	char error[ERROR_SIZE];
	uint64_t netns;
	size_t count;

	err = pinned_netns(&netns, error, sizeof(error));
	if (!err)
		err = pinned_list(&places, &count, error, sizeof(error));
	if (err)
		return command_failed(error);
	for (size_t i = 0; i < count; i++) {
		char name[IFNAMSIZ];

		if (places[i].netns != netns || !if_indextoname(places[i].ifindex, name))
			continue;
		err = detach_place(&places[i], name, json, error, sizeof(error));
		if (err && err != -ENOENT)
			status = command_failed(error);
	}
	state_sweep();
	return status;
}

static int detach_main(int argc, char **argv)
{
	char error[ERROR_SIZE];
	bool json;

	if (!command_json(argc, argv, &detach_command, &json))
		return STATUS_USAGE;
	if (argc - optind > 1)
		return command_usage("one interface, or none for all");
	if (check_require(check_rights, NULL, error, sizeof(error)) ||
	    pinned_prepare(false, error, sizeof(error)))
		return command_failed(error);
	return optind < argc ? detach_one(argv[optind], json) : detach_all(json);
}

const struct command detach_command = {
	.name = "detach",
	.arguments = "[IFACE] [--json]",
	.summary =
		"Takes off what is attached, and all that is left of it; without IFACE everywhere",
	.options = "  --json             one JSON object a line\n",
	.main = detach_main,
};
