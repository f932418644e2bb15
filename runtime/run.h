/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_RUN_H
#define MPLEX_RUN_RUN_H

#include <stdbool.h>

#include "attach.h"

/* What a process of mplex-run ends with. */
enum exit_status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_BAD_OBJECT = 3,
};

struct run_options {
	const char *interface;
	const char *object;
	enum mode mode;
	bool json;
	unsigned interval; /* seconds between two reports; 0: as the output suggests */
};

/*
 * Attaches an object to an interface and watches it until SIGINT, SIGTERM or SIGHUP. Reports go to
 * standard output, errors and warnings to standard error. Returns the exit status.
 */
int run(const struct run_options *options);

#endif
