/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics as text. A family has to stand together, so each is a walk over all interfaces. */
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "exposition.h"
#include "manifest.h"
#include "version.h"

/* More series than these are too many for those who store them. */
enum {
	ROUTES_MAX = 1024
};

/* Which number of a row a family shows. */
enum number {
	PACKETS,
	BYTES,
};

static void label(FILE *out, const char *before, const char *name, const char *value)
{
	fprintf(out, "%s%s=\"", before, name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '\\' || *value == '"')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static uint64_t number_of(const struct row *row, enum number number)
{
	return number == PACKETS ? row->count.packets : row->count.bytes;
}

static const struct manifest_listener *listener_of(const struct source *source,
						   const struct row *row)
{
	for (size_t i = 0; i < source->manifest->listener_count; i++) {
		if (!strcmp(source->manifest->listeners[i].name, row->listener))
			return &source->manifest->listeners[i];
	}
	return NULL;
}

/* Whether the routes of a row's listener are shown as one. */
static bool is_folded(const struct source *source, const struct row *row)
{
	const struct manifest_listener *listener = row->route ? listener_of(source, row) : NULL;

	return listener && listener->route_count > ROUTES_MAX;
}

/*
 * The number of a row, and *next, the row to go on with: behind the routes that are shown as one.
 */
static uint64_t fold(const struct source *source, size_t at, enum number number, size_t *next)
{
	const struct row *row = &source->rows[at];
	uint64_t sum = number_of(row, number);

	*next = at + 1;
	if (!is_folded(source, row))
		return sum;
	for (; *next < source->count; (*next)++) {
		const struct row *other = &source->rows[*next];

		if (!other->route || strcmp(other->listener, row->listener))
			break;
		sum += number_of(other, number);
	}
	return sum;
}

static void rows_of(FILE *out, const struct source *source, const char *name, enum number number)
{
	size_t next;

	for (size_t i = 0; i < source->count; i = next) {
		const struct row *row = &source->rows[i];
		uint64_t value = fold(source, i, number, &next);

		fputs(name, out);
		label(out, "{", "interface", source->interface);
		label(out, ",", "listener", row->listener);
		label(out, ",", "route", row->route && !is_folded(source, row) ? row->route : "");
		label(out, ",", "reason", row->reason);
		fprintf(out, "} %" PRIu64 "\n", value);
	}
}

/* The hand-over knows of a connection's listener, not of its route. */
static void connections_of(FILE *out, const struct source *source)
{
	for (size_t i = 0; i < source->count; i++) {
		const struct row *row = &source->rows[i];
		const struct manifest_listener *listener = listener_of(source, row);

		if (!listener || !(listener->protocols & MANIFEST_TCP) ||
		    strcmp(row->reason, "delivered"))
			continue;
		label(out, "mplex_connections_total{", "interface", source->interface);
		label(out, ",", "listener", row->listener);
		fprintf(out, "} %" PRIu64 "\n", row->count.packets);
	}
}

void exposition_write(FILE *out, const struct source *sources, size_t count)
{
	family(out, "mplex_build_info", "gauge",
	       "The version of mplex-run that wrote this, always 1.");
	label(out, "mplex_build_info{", "version", MPLEX_VERSION);
	fputs("} 1\n", out);

	family(out, "mplex_rules_info", "gauge", "The rules that are attached, always 1.");
	for (size_t i = 0; i < count; i++) {
		label(out, "mplex_rules_info{", "interface", sources[i].interface);
		label(out, ",", "file", sources[i].manifest->rules_file);
		label(out, ",", "sha256", sources[i].manifest->rules_sha256);
		label(out, ",", "version", sources[i].manifest->version);
		label(out, ",", "mode", sources[i].mode);
		fputs("} 1\n", out);
	}

	family(out, "mplex_packets_total", "counter",
	       "Packets by what became of them, since mplex was first attached.");
	for (size_t i = 0; i < count; i++)
		rows_of(out, &sources[i], "mplex_packets_total", PACKETS);

	family(out, "mplex_bytes_total", "counter",
	       "Bytes of these packets, from their IP headers on.");
	for (size_t i = 0; i < count; i++)
		rows_of(out, &sources[i], "mplex_bytes_total", BYTES);

	family(out, "mplex_connections_total", "counter",
	       "TCP connections handed to their servers, since mplex was first attached.");
	for (size_t i = 0; i < count; i++)
		connections_of(out, &sources[i]);
}
