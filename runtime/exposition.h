/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Metrics in the text format of Prometheus, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 */
#ifndef MPLEX_RUN_EXPOSITION_H
#define MPLEX_RUN_EXPOSITION_H

#include <stddef.h>
#include <stdio.h>

#include "report.h"

struct manifest;

/* What is attached to one interface; all of it is the caller's. */
struct source {
	const char *interface;
	const char *mode;
	const struct manifest *manifest;
	const struct row *rows; /* as report_rows has them */
	size_t count;
};

/* Writes the metrics of all sources: each family once, in an order that is always the same. */
void exposition_write(FILE *out, const struct source *sources, size_t count);

#endif
