/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run: loads what mplexc made and looks after it. The first word is a command, each in a file
 * of its own; without one, "run" is meant.
 */
#include <stdio.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "command.h"
#include "version.h"

static const struct command *const commands[] = {
	&run_command,	 &confirm_command, &detach_command,   &follow_command,	&test_command,
	&doctor_command, &status_command,  &counters_command, &metrics_command, &capture_command,
};

enum {
	COMMANDS = sizeof(commands) / sizeof(*commands)
};

static int help(void)
{
	fputs("Usage: mplex-run IFACE OBJECT [OPTION...]\n"
	      "       mplex-run COMMAND ...\n"
	      "\n"
	      "Loads the object that clang made of mplexc's output, attaches it to the interface and\n"
	      "shows its counters until SIGINT or SIGTERM ends it; nothing stays attached. With --pin\n"
	      "it stays, and the next object takes its place without losing a packet.\n"
	      "\n",
	      stdout);
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  mplex-run %s %s\n      %s\n", commands[i]->name, commands[i]->arguments,
		       commands[i]->summary);
	fputs("\n\"run\" can be left out. \"mplex-run COMMAND --help\" explains the options.\n"
	      "\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage, 3 not a good object.\n",
	      stdout);
	return STATUS_DONE;
}

int main(int argc, char **argv)
{
	const char *first = argc > 1 ? argv[1] : "";

	/* What libbpf says while it tries is noise; object.c keeps what may be needed. */
	libbpf_set_print(NULL);
	if (!strcmp(first, "--help"))
		return help();
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcmp(first, commands[i]->name))
			return commands[i]->main(argc - 1, argv + 1);
	}
	return run_command.main(argc, argv);
}
