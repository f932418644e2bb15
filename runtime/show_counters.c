/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run counters: what was counted since mplex was first attached to an interface, once or
 * again and again. It reads what is pinned and needs nothing of the process that attached it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "error.h"
#include "pinned.h"
#include "report.h"
#include "scope.h"

/* Seconds between two reports, as in a run. */
enum {
	TERMINAL_INTERVAL = 1,
	LINES_INTERVAL = 10,
};

struct counters_options {
	const char *interface;
	bool json;
	bool watch;
	unsigned interval; /* seconds; 0: as the output suggests */
};

/* What one look saw. */
struct look {
	struct pinned pinned;
	struct row *rows; /* their strings are pinned's */
	size_t count;
};

static void look_close(struct look *look)
{
	free(look->rows);
	pinned_close(&look->pinned);
}

/* A generation may be replaced between two steps of it; the next one is as good. */
static int look_at(const struct place *place, struct look *out, char *error, size_t n)
{
	int err;

	do {
		SCOPED(look_close) struct look look = {};

		err = pinned_open(place, &look.pinned, error, n);
		if (!err)
			err = pinned_rows(&look.pinned, &look.rows, &look.count, error, n);
		if (!err) {
			*out = look;
			memset(&look, 0, sizeof(look));
		}
	} while (err == -ESTALE);
	return err;
}

static int watch(struct report *report, const struct place *place,
		 const struct counters_options *options, unsigned interval, char *error, size_t n)
{
	const struct timespec pause = {.tv_sec = interval};
	uint32_t generation = 0;

	for (;;) {
		SCOPED(look_close) struct look look = {};
		int err = look_at(place, &look, error, n);

		if (err)
			return err;
		/* Other rules have other rows, and the first ones no rate. */
		if (look.pinned.record.xdp != generation)
			report_free(report);
		report_counters(report, TAKE(look.rows), look.count,
				look.pinned.record.xdp == generation ? interval : 0,
				!options->watch);
		generation = look.pinned.record.xdp;
		if (ferror(report->out))
			return failed(error, n, EPIPE,
				      "cannot write the counters to standard output");
		if (!options->watch)
			return 0;
		nanosleep(&pause, NULL);
	}
}

static void scoped_report(struct report *report)
{
	report_free(report);
}

static int counters(const struct counters_options *options)
{
	bool terminal = !options->json && isatty(STDOUT_FILENO);
	SCOPED(scoped_report)
	struct report report = {
		.out = stdout,
		.form = options->json ? REPORT_JSON
			: terminal    ? REPORT_TABLE
				      : REPORT_LINES,
		.interface = options->interface,
	};
	unsigned interval = terminal ? TERMINAL_INTERVAL : LINES_INTERVAL;
	struct place place;
	char error[ERROR_SIZE];
	int err;

	err = pinned_find(options->interface, &place, error, sizeof(error));
	if (!err)
		err = watch(&report, &place, options,
			    options->interval ? options->interval : interval, error, sizeof(error));
	/* Before the first report it is a failure, after it the end. */
	if (err == -ENOENT && report.last) {
		report_detached(&report);
		return STATUS_DONE;
	}
	if (err == -ENOENT)
		snprintf(error, sizeof(error), "nothing of mplex is attached to %s",
			 options->interface);
	return err ? command_failed(error) : STATUS_DONE;
}

static int counters_main(int argc, char **argv)
{
	enum {
		JSON = 1,
		WATCH,
		INTERVAL,
	};
	static const struct option names[] = {
		{"json", no_argument, NULL, JSON},
		{"watch", no_argument, NULL, WATCH},
		{"interval", required_argument, NULL, INTERVAL},
		{},
	};
	struct counters_options options = {};
	int option;

	while ((option = command_option(argc, argv, &counters_command, names))) {
		switch (option) {
		case JSON:
			options.json = true;
			break;
		case WATCH:
			options.watch = true;
			break;
		case INTERVAL:
			if (!command_number(optarg, 1, 86400, &options.interval))
				return command_usage(
					"--interval is a whole number of seconds, 1 to 86400");
			break;
		default:
			return STATUS_USAGE;
		}
	}
	if (argc - optind != 1)
		return command_usage("an interface is needed");
	if (options.interval && !options.watch)
		return command_usage("--interval goes with --watch");
	options.interface = argv[optind];
	return counters(&options);
}

const struct command counters_command = {
	.name = "counters",
	.arguments = "IFACE [--watch] [--interval SECONDS] [--json]",
	.summary = "Shows what was counted since mplex was first attached to the interface",
	.options = "  --watch            again and again, until it is detached\n"
		   "  --interval SECONDS between two reports: 1 on a terminal, else 10\n"
		   "  --json             one JSON object a line\n",
	.main = counters_main,
};
