/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands of mplex-run: one file each, with its own options and help, listed in main.c.
 */
#ifndef MPLEX_RUN_COMMAND_H
#define MPLEX_RUN_COMMAND_H

#include <getopt.h>
#include <stdbool.h>

/* What a process of mplex-run ends with. */
enum exit_status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_BAD_OBJECT = 3,
};

struct command {
	const char *name;
	const char *arguments; /* "OBJECT [--json]" */
	const char *summary;   /* one line of help, a sentence without its full stop */
	const char *options; /* the help's lines about options, each ended by a newline; or NULL */
	/* argv[0] is the command's name or the program's. Returns the exit status. */
	int (*main)(int argc, char **argv);
};

extern const struct command run_command;
extern const struct command confirm_command;
extern const struct command detach_command;
extern const struct command follow_command;
extern const struct command test_command;
extern const struct command capture_command;
extern const struct command doctor_command;
extern const struct command status_command;
extern const struct command counters_command;
extern const struct command metrics_command;

/*
 * The next option of a command line, as getopt_long has it; names are the command's own, ended by
 * an empty one; one whose value is a letter has that letter for short. Returns its value, 0 at the
 * end (the arguments are at optind then), or -1 when it is unknown or lacks its argument, which was
 * said already. --help and --version end the process.
 */
int command_option(int argc, char **argv, const struct command *command,
		   const struct option *names);

/*
 * Reads the options of a command whose only one is --json; *json is whether it was there. Returns
 * false when another was, which was said already. The arguments are at optind then.
 */
bool command_json(int argc, char **argv, const struct command *command, bool *json);

/* Reads a whole number from min to max. Returns whether it is one, and else *out is untouched. */
bool command_number(const char *text, unsigned min, unsigned max, unsigned *out);

/* Says what is wrong with the command line. Returns STATUS_USAGE. */
int command_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * From here on SIGINT, SIGTERM and SIGHUP wait until they are read, so that what is attached is
 * detached; a broken pipe shows in the stream instead. Returns a signalfd, or -1.
 */
int command_signals(void);

/* Says what failed. Returns STATUS_FAILED. */
int command_failed(const char *sentence);

#endif
