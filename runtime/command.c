/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the commands of mplex-run have in common: options, and how they say that something is wrong.
 */
#include <ctype.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>

#include "command.h"
#include "version.h"

/* Above all characters, and above what commands number their options with. */
enum {
	HELP = 1000,
	VERSION,
	OPTIONS_MAX = 16, /* of a command */
};

static void help(const struct command *command)
{
	printf("Usage: mplex-run %s %s\n\n%s.\n\n", command->name, command->arguments,
	       command->summary);
	if (command->options)
		fputs(command->options, stdout);
	fputs("  --help, --version\n", stdout);
}

int command_option(int argc, char **argv, const struct command *command, const struct option *names)
{
	struct option all[OPTIONS_MAX + 3] = {
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
	};
	char letters[2 * OPTIONS_MAX + 1], *letter = letters;
	int option;

	for (size_t i = 0; i < OPTIONS_MAX && names[i].name; i++) {
		all[i + 2] = names[i];
		if (names[i].val >= 'A') {
			*letter++ = names[i].val;
			if (names[i].has_arg)
				*letter++ = ':';
		}
	}
	*letter = '\0';
	opterr = 0;
	option = getopt_long(argc, argv, letters, all, NULL);
	switch (option) {
	case -1:
		return 0;
	case HELP:
		help(command);
		exit(STATUS_DONE);
	case VERSION:
		puts("mplex-run " MPLEX_VERSION);
		exit(STATUS_DONE);
	case '?':
		command_usage("an option is unknown or lacks its value");
		return -1;
	}
	return option;
}

bool command_json(int argc, char **argv, const struct command *command, bool *json)
{
	enum {
		JSON = 1
	};
	static const struct option names[] = {
		{"json", no_argument, NULL, JSON},
		{},
	};
	int option;

	*json = false;
	while ((option = command_option(argc, argv, command, names))) {
		if (option < 0)
			return false;
		*json = true;
	}
	return true;
}

bool command_number(const char *text, unsigned min, unsigned max, unsigned *out)
{
	unsigned long number;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	number = strtoul(text, &end, 10);
	if (*end || number < min || number > max)
		return false;
	*out = number;
	return true;
}

int command_usage(const char *format, ...)
{
	va_list arguments;

	fputs("mplex-run: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputs("; \"mplex-run --help\" shows the usage\n", stderr);
	return STATUS_USAGE;
}

int command_failed(const char *sentence)
{
	fprintf(stderr, "mplex-run: %s\n", sentence);
	return STATUS_FAILED;
}

int command_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &signals, SFD_CLOEXEC);
}
