/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run: loads what mplexc made and watches it. Here the command line becomes options; the
 * commands are in files of their own.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "version.h"
#include "rule_test.h"
#include "run.h"

static const char help[] =
	"Usage: mplex-run IFACE OBJECT [--mode native|generic] [--interval SECONDS] [--json]\n"
	"       mplex-run test OBJECT [--json]\n"
	"\n"
	"Loads the object that clang made of mplexc's output, attaches it to the interface and shows\n"
	"its counters until SIGINT or SIGTERM ends it; nothing stays attached.\n"
	"\"test\" runs the examples of the rule file in the kernel, in a network namespace of its own.\n"
	"\n"
	"  --mode native      run in the interface's driver (the default)\n"
	"  --mode generic     run behind the driver: slower, works on every interface\n"
	"  --interval SECONDS between two reports: 1 on a terminal, else 10\n"
	"  --json             one JSON object a line\n"
	"  --help, --version\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage, 3 not a good object.\n";

static int usage(const char *what)
{
	fprintf(stderr, "mplex-run: %s; \"mplex-run --help\" shows the usage\n", what);
	return STATUS_USAGE;
}

static int parse_options(int argc, char **argv, struct run_options *options)
{
	enum {
		MODE = 1,
		INTERVAL,
		JSON,
		HELP,
		VERSION
	};
	static const struct option names[] = {
		{"mode", required_argument, NULL, MODE},
		{"interval", required_argument, NULL, INTERVAL},
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{},
	};
	unsigned long seconds;
	char *end;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case MODE:
			if (!strcmp(optarg, "native"))
				options->mode = MODE_NATIVE;
			else if (!strcmp(optarg, "generic"))
				options->mode = MODE_GENERIC;
			else
				return usage("--mode is native or generic");
			break;
		case INTERVAL:
			seconds = strtoul(optarg, &end, 10);
			if (*end || seconds < 1 || seconds > 86400)
				return usage("--interval is a whole number of seconds, 1 to 86400");
			options->interval = seconds;
			break;
		case JSON:
			options->json = true;
			break;
		case HELP:
			fputs(help, stdout);
			exit(STATUS_DONE);
		case VERSION:
			puts("mplex-run " MPLEX_VERSION);
			exit(STATUS_DONE);
		default:
			return usage("an option is unknown or lacks its value");
		}
	}
	return STATUS_DONE;
}

int main(int argc, char **argv)
{
	struct run_options options = {};
	int status = parse_options(argc, argv, &options);

	if (status)
		return status;
	if (argc - optind != 2)
		return usage("an interface and an object are needed");
	options.interface = argv[optind];
	options.object = argv[optind + 1];
	if (!strcmp(argv[optind], "test")) {
		if (options.mode != MODE_NATIVE || options.interval)
			return usage("of the options only --json goes with test");
		return rule_test(options.object, options.json);
	}
	return run(&options);
}
