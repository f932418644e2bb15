/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What people and programs see of a running mplex. Text and JSON are made from the same rows, so
 * that they cannot tell different things.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <jansson.h>

#include "generation.h"
#include "manifest.h"
#include "report.h"
#include "scope.h"

enum {
	PORTS_SHOWN = 8,     /* of a listener, in text */
	DEFAULT_SCREEN = 24, /* lines, where the terminal does not tell */
	DIGEST_SHOWN = 12,   /* digits of the rule file's digest, in text */
};

static size_t listener_rows(const struct manifest *manifest,
			    const struct manifest_listener *listener)
{
	return listener->route_count + manifest->reason_count + manifest->ingress_reason_count;
}

/* Where routes are counted one by one they stand for the reason "routed". */
static bool shown_by_routes(const struct manifest_listener *listener, const char *reason)
{
	return listener->route_count && !strcmp(reason, "routed");
}

int report_rows(const struct manifest *manifest, const struct counters *counters, struct row **out,
		size_t *count)
{
	struct row *rows, *row;
	size_t room = 0;

	for (size_t i = 0; i < manifest->listener_count; i++)
		room += listener_rows(manifest, &manifest->listeners[i]);
	rows = row = calloc(room, sizeof(*rows));
	if (!rows)
		return -ENOMEM;

	for (size_t i = 0; i < manifest->listener_count; i++) {
		const struct manifest_listener *listener = &manifest->listeners[i];

		for (size_t j = 0; j < listener->route_count; j++) {
			const struct manifest_route *route = &listener->routes[j];

			*row++ = (struct row){
				.listener = listener->name,
				.reason = "routed",
				.route = route->tag,
				.port = route->port,
				.count = counters->xdp[route->counter],
			};
		}
		for (size_t j = 0; j < manifest->reason_count; j++) {
			if (shown_by_routes(listener, manifest->reasons[j]))
				continue;
			*row++ = (struct row){
				.listener = listener->name,
				.reason = manifest->reasons[j],
				.count = counters->xdp[listener->counters + j],
			};
		}
		for (size_t j = 0; counters->ingress && j < manifest->ingress_reason_count; j++)
			*row++ = (struct row){
				.listener = listener->name,
				.reason = manifest->ingress_reasons[j],
				.count = counters->ingress[i * manifest->ingress_reason_count + j],
			};
	}
	*out = rows;
	*count = row - rows;
	return 0;
}

static void put_json(struct report *report, json_t *value)
{
	json_dumpf(value, report->out, JSON_COMPACT);
	fputc('\n', report->out);
	json_decref(value);
}

static void add_program(json_t *programs, const char *name, uint32_t id, const char *by)
{
	if (id)
		json_array_append_new(programs, json_pack("{s:s, s:I, s:s}", "name", name, "id",
							  (json_int_t)id, "by", by));
}

static json_t *json_listener(const struct manifest_listener *listener)
{
	json_t *protocols = json_array(), *ports = json_array();

	if (listener->protocols & MANIFEST_TCP)
		json_array_append_new(protocols, json_string("tcp"));
	if (listener->protocols & MANIFEST_UDP)
		json_array_append_new(protocols, json_string("udp"));
	for (size_t i = 0; i < listener->port_count; i++)
		json_array_append_new(ports, json_integer(listener->ports[i]));
	return json_pack("{s:s, s:o, s:i, s:o}", "name", listener->name, "protocols", protocols,
			 "port", (int)listener->port, "ports", ports);
}

void report_generation_json(struct json_t *into, const struct record *record, const char *tc)
{
	const struct manifest *manifest = &record->manifest;
	json_t *listeners = json_array(), *programs = json_array();

	add_program(programs, "mplex_xdp", record->xdp, "xdp");
	add_program(programs, "mplex_ingress", record->ingress, tc);
	add_program(programs, "mplex_egress", record->egress, tc);
	for (size_t i = 0; i < manifest->listener_count; i++)
		json_array_append_new(listeners, json_listener(&manifest->listeners[i]));
	json_object_set_new(into, "mode", json_string(mode_name(record->mode)));
	json_object_set_new(into, "observing", json_boolean(record->observing));
	json_object_set_new(into, "rules",
			    json_pack("{s:s, s:s}", "file", manifest->rules_file, "sha256",
				      manifest->rules_sha256));
	json_object_set_new(into, "version", json_string(manifest->version));
	json_object_set_new(into, "programs", programs);
	json_object_set_new(into, "listeners", listeners);
}

static void json_attached(struct report *report, const struct attached *attached)
{
	json_t *event =
		json_pack("{s:s, s:s}", "event", attached->replaced ? "replaced" : "attached",
			  "interface", report->interface);

	report_generation_json(event, &attached->generation->record, attached->tc);
	json_object_set_new(event, "pinned", json_boolean(attached->pinned));
	json_object_set_new(event, "confirm", json_integer(attached->confirm));
	put_json(report, event);
}

static void text_listener(FILE *out, const struct manifest_listener *listener)
{
	bool tcp = listener->protocols & MANIFEST_TCP, udp = listener->protocols & MANIFEST_UDP;

	fprintf(out, "%s: %s%s%s port %u ->", listener->name, tcp ? "tcp" : "",
		tcp && udp ? " and " : "", udp ? "udp" : "", listener->port);
	for (size_t i = 0; i < listener->port_count && i < PORTS_SHOWN; i++)
		fprintf(out, "%s %u", i ? "," : "", listener->ports[i]);
	if (listener->port_count > PORTS_SHOWN)
		fprintf(out, ", ... (%zu ports)", listener->port_count);
	fputc('\n', out);
}

void report_generation_text(FILE *out, const char *interface, const char *verb,
			    const struct record *record, const char *tc)
{
	const struct manifest *manifest = &record->manifest;

	fprintf(out, "%s: rules of %s (sha256 %.*s...), compiled by mplexc %s\n", interface,
		manifest->rules_file, DIGEST_SHOWN, manifest->rules_sha256, manifest->version);
	fprintf(out, "%s: %s mplex_xdp in %s mode", interface, verb, mode_name(record->mode));
	if (record->observing)
		fputs(", observing: packets are counted and passed on, whatever the verdict", out);
	if (record->ingress)
		fprintf(out, ", mplex_ingress by %s", tc);
	if (record->egress)
		fprintf(out, ", mplex_egress by %s", tc);
	fputc('\n', out);
	for (size_t i = 0; i < manifest->listener_count; i++)
		text_listener(out, &manifest->listeners[i]);
}

static void text_attached(struct report *report, const struct attached *attached)
{
	const char *name = report->interface;
	FILE *out = report->out;

	report_generation_text(out, name, attached->replaced ? "replaced" : "attached",
			       &attached->generation->record, attached->tc);
	if (attached->pinned)
		fprintf(out, "%s: stays until \"mplex-run detach %s\"\n", name, name);
	if (attached->confirm)
		fprintf(out, "%s: \"mplex-run confirm %s\" within %u seconds keeps it, else %s\n",
			name, name, attached->confirm,
			attached->replaced ? "what ran before runs again" : "it is detached");
}

void report_attached(struct report *report, const struct attached *attached)
{
	if (report->form == REPORT_JSON)
		json_attached(report, attached);
	else
		text_attached(report, attached);
	fflush(report->out);
}

static void json_rows(struct report *report, const struct row *rows, bool final)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->row_count; i++) {
		const struct row *row = &rows[i];
		json_t *value =
			json_pack("{s:s, s:s}", "listener", row->listener, "reason", row->reason);

		if (row->route) {
			json_object_set_new(value, "route", json_string(row->route));
			json_object_set_new(value, "port", json_integer(row->port));
		}
		json_object_set_new(value, "packets", json_integer(row->count.packets));
		json_object_set_new(value, "bytes", json_integer(row->count.bytes));
		json_array_append_new(list, value);
	}
	put_json(report, json_pack("{s:s, s:s, s:b, s:o}", "event", "counters", "interface",
				   report->interface, "final", final, "counters", list));
}

/* "600 -> 5001", or the reason. */
static const char *outcome(const struct row *row, char *buffer, size_t size)
{
	if (!row->route)
		return row->reason;
	snprintf(buffer, size, "%s -> %u", row->route, row->port);
	return buffer;
}

static void text_lines(struct report *report, const struct row *rows, bool final)
{
	char buffer[300];

	for (size_t i = 0; i < report->row_count; i++) {
		const struct row *row = &rows[i];
		uint64_t before = report->last ? report->last[i].count.packets : 0;

		if (!row->count.packets || (!final && row->count.packets == before))
			continue;
		fprintf(report->out, "%s %s: %" PRIu64 " packets, %" PRIu64 " bytes\n",
			row->listener, outcome(row, buffer, sizeof(buffer)), row->count.packets,
			row->count.bytes);
	}
}

static unsigned screen_lines(FILE *out)
{
	struct winsize size;

	if (ioctl(fileno(out), TIOCGWINSZ, &size) || !size.ws_row)
		return DEFAULT_SCREEN;
	return size.ws_row;
}

static void text_table(struct report *report, const struct row *rows, double seconds)
{
	unsigned room = screen_lines(report->out) - 1, hidden = 0;
	FILE *out = report->out;
	char buffer[300];

	/* Back up over the last table and clear from there. */
	if (report->drawn)
		fprintf(out, "\033[%uA\033[J", report->drawn);
	fprintf(out, "%-16s %-24s %14s %18s %12s\n", "listener", "outcome", "packets", "bytes",
		"packets/s");
	report->drawn = 1;
	for (size_t i = 0; i < report->row_count; i++) {
		const struct row *row = &rows[i];
		uint64_t before = report->last ? report->last[i].count.packets : 0;

		if (!row->count.packets)
			continue;
		/* What scrolled off the screen could not be drawn over. */
		if (report->drawn + 2 > room) {
			hidden++;
			continue;
		}
		fprintf(out, "%-16s %-24s %14" PRIu64 " %18" PRIu64 " %12.0f\n", row->listener,
			outcome(row, buffer, sizeof(buffer)), row->count.packets, row->count.bytes,
			seconds > 0 ? (row->count.packets - before) / seconds : 0);
		report->drawn++;
	}
	if (hidden) {
		fprintf(out, "... and %u more\n", hidden);
		report->drawn++;
	}
}

void report_counters(struct report *report, struct row *rows, size_t count, double seconds,
		     bool final)
{
	report->row_count = count;
	switch (report->form) {
	case REPORT_TABLE:
		text_table(report, rows, seconds);
		break;
	case REPORT_LINES:
		text_lines(report, rows, final);
		break;
	case REPORT_JSON:
		json_rows(report, rows, final);
		break;
	}
	fflush(report->out);
	free(report->last);
	report->last = rows;
}

static void report_event(struct report *report, const char *event, const char *text)
{
	if (report->form == REPORT_JSON)
		put_json(report,
			 json_pack("{s:s, s:s}", "event", event, "interface", report->interface));
	else
		fprintf(report->out, "%s: %s\n", report->interface, text);
	report->drawn = 0;
	fflush(report->out);
}

void report_followed(struct report *report)
{
	report_event(report, "followed", "loaded anew for the host's addresses as they are now");
}

void report_detached(struct report *report)
{
	report_event(report, "detached", "detached");
}

void report_free(struct report *report)
{
	free(report->last);
	report->last = NULL;
}
