/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run status: what of mplex is attached, and whether what it depends on still holds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "check_loaded.h"
#include "command.h"
#include "error.h"
#include "finding.h"
#include "host.h"
#include "lock.h"
#include "namespace.h"
#include "pinned.h"
#include "report.h"
#include "scope.h"

/* What is known of one place. */
struct entry {
	struct place place;
	bool here; /* in this network namespace */
	char interface[IFNAMSIZ];
	bool open; /* something is attached there: */
	struct pinned pinned;
	struct findings findings;
};

static void entry_free(struct entry *entry)
{
	if (entry->open)
		pinned_close(&entry->pinned);
	findings_free(&entry->findings);
}

/* ---- looking ------------------------------------------------------------------------------- */

/* Says where else to ask, since addresses and sysctls belong to a namespace. */
static void look_elsewhere(const struct entry *entry, struct findings *findings)
{
	SCOPED(namespaces_free) struct namespaces namespaces = {};
	const struct namespace *found_there = NULL;

	if (!namespaces_list(&namespaces)) {
		for (size_t i = 0; i < namespaces.count && !found_there; i++) {
			const struct namespace *one = &namespaces.list[i];
			SCOPED(scoped_close)
			int fd = namespace_socket(one, AF_UNIX, SOCK_DGRAM, 0);
			uint64_t cookie = fd < 0 ? 0 : namespace_cookie(fd);

			if ((cookie ?: one->inode) == entry->place.netns)
				found_there = one;
		}
	}
	if (found_there) {
		found(findings, "namespace", VERDICT_UNKNOWN,
		      "%s is in another network namespace, that of %s: whether all holds can be "
		      "told there",
		      entry->interface, found_there->owner);
		mended_by(findings, "nsenter --net=%s mplex-run status %s", found_there->path,
			  entry->interface);
	} else {
		found(findings, "namespace", VERDICT_UNKNOWN,
		      "%s is in another network namespace, in which no process seems to live",
		      entry->interface);
	}
}

static void look(struct entry *entry)
{
	struct interface interface;
	char error[ERROR_SIZE];
	int err = pinned_open(&entry->place, &entry->pinned, error, sizeof(error));

	entry->open = !err;
	if (entry->here && if_indextoname(entry->place.ifindex, entry->interface))
		;
	else if (entry->open)
		snprintf(entry->interface, sizeof(entry->interface), "%s",
			 entry->pinned.record.interface);
	else
		snprintf(entry->interface, sizeof(entry->interface), "#%u", entry->place.ifindex);

	if (err == -ENOENT && lock_is_held(entry->place.path)) {
		found(&entry->findings, "pins", VERDICT_UNKNOWN,
		      "another mplex-run is changing what is attached: ask again");
	} else if (err == -ENOENT && entry->here && *entry->interface != '#') {
		found(&entry->findings, "pins", VERDICT_PROBLEM,
		      "nothing is attached, but %s is there: a change was broken off",
		      entry->place.path);
		mended_by(&entry->findings, "mplex-run detach %s", entry->interface);
	} else if (err == -ENOENT) {
		found(&entry->findings, "pins", VERDICT_WARNING,
		      "nothing is attached, and %s is left of an interface that was removed: the next "
		      "mplex-run that attaches something removes it",
		      entry->place.path);
	} else if (err) {
		found(&entry->findings, "pins", VERDICT_PROBLEM, "%s", error);
	} else if (!entry->here) {
		look_elsewhere(entry, &entry->findings);
	} else if (host_interface(entry->interface, &interface, error, sizeof(error))) {
		found(&entry->findings, "interface", VERDICT_PROBLEM, "%s", error);
	} else {
		check_loaded(&entry->pinned, &interface, &entry->findings);
	}
}

/* ---- telling ------------------------------------------------------------------------------- */

static void format_time(int64_t seconds, char *text, size_t size)
{
	time_t time = seconds;
	struct tm parts;

	if (!gmtime_r(&time, &parts) || !strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &parts))
		snprintf(text, size, "?");
}

static int64_t seconds_left(const struct pinned *pinned)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return pinned->deadline > now.tv_sec ? pinned->deadline - now.tv_sec : 0;
}

static json_t *json_addresses(const struct addresses *addresses)
{
	json_t *list = json_array();
	char text[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < addresses->v4_count; i++)
		json_array_append_new(list, json_string(inet_ntop(AF_INET, addresses->v4[i], text,
								  sizeof(text))));
	for (size_t i = 0; i < addresses->v6_count; i++)
		json_array_append_new(list, json_string(inet_ntop(AF_INET6, addresses->v6[i], text,
								  sizeof(text))));
	return list;
}

static void json_attachment(json_t *into, const struct pinned *pinned)
{
	const struct record *record = &pinned->record;
	char since[32], loaded[32];

	format_time(record->since, since, sizeof(since));
	format_time(record->loaded, loaded, sizeof(loaded));
	report_generation_json(into, record, pinned->tc);
	json_object_set_new(into, "object", json_string(record->object));
	json_object_set_new(into, "tool", json_string(record->tool));
	json_object_set_new(into, "since", json_string(since));
	json_object_set_new(into, "loaded", json_string(loaded));
	json_object_set_new(into, "addresses", json_addresses(&record->addresses));
	json_object_set_new(into, "pinned", json_boolean(!pinned->process));
	if (pinned->process)
		json_object_set_new(into, "process", json_integer(pinned->process));
	if (pinned->unconfirmed)
		json_object_set_new(into, "confirm", json_integer(seconds_left(pinned)));
}

static json_t *json_entry(const struct entry *entry)
{
	json_t *value = json_pack("{s:s, s:I, s:b, s:b}", "interface", entry->interface, "netns",
				  (json_int_t)entry->place.netns, "here", entry->here, "attached",
				  entry->open);
	json_t *findings = findings_json(&entry->findings);

	if (value && entry->open)
		json_attachment(value, &entry->pinned);
	/* Takes the findings, also when it fails. */
	if (json_object_set_new(value, "findings", findings)) {
		json_decref(value);
		return NULL;
	}
	return value;
}

static void text_addresses(const char *interface, const struct addresses *addresses)
{
	json_t *list = json_addresses(addresses), *address;
	size_t i;

	printf("%s: loaded with the addresses", interface);
	json_array_foreach(list, i, address)
		printf("%s %s", i ? "," : "", json_string_value(address));
	printf("%s\n", json_array_size(list) ? "" : " of no interface");
	json_decref(list);
}

static void text_attachment(const char *name, const struct pinned *pinned)
{
	const struct record *record = &pinned->record;
	char since[32], loaded[32];

	format_time(record->since, since, sizeof(since));
	format_time(record->loaded, loaded, sizeof(loaded));
	report_generation_text(stdout, name, "attached", record, pinned->tc);
	printf("%s: ids in the kernel: mplex_xdp %u", name, record->xdp);
	if (record->ingress)
		printf(", mplex_ingress %u", record->ingress);
	if (record->egress)
		printf(", mplex_egress %u", record->egress);
	printf("\n%s: since %s, these rules since %s, from %s\n", name, since, loaded,
	       record->object);
	text_addresses(name, &record->addresses);
	if (pinned->process)
		printf("%s: ends with the process %d\n", name, (int)pinned->process);
	else
		printf("%s: stays until \"mplex-run detach %s\"\n", name, name);
	if (pinned->unconfirmed)
		printf("%s: \"mplex-run confirm %s\" within %" PRId64 " seconds keeps it\n", name,
		       name, seconds_left(pinned));
}

static void text_entry(const struct entry *entry)
{
	if (entry->open)
		text_attachment(entry->interface, &entry->pinned);
	else
		printf("%s: nothing is attached\n", entry->interface);
	findings_text(&entry->findings, stdout);
}

/* ---- the command --------------------------------------------------------------------------- */

/* Looks at a place and tells of it: as text at once, or into a JSON array. */
static int tell(const struct place *place, uint64_t netns, json_t *list, bool *problem)
{
	SCOPED(entry_free)
	struct entry entry = {.place = *place, .here = place->netns == netns};

	look(&entry);
	*problem |= findings_have(&entry.findings, VERDICT_PROBLEM);
	if (entry.findings.incomplete)
		return -ENOMEM;
	if (list)
		return json_array_append_new(list, json_entry(&entry)) ? -ENOMEM : 0;
	text_entry(&entry);
	return 0;
}

static void scoped_json(json_t **value)
{
	json_decref(*value);
}

/* The one place that is asked for, or all. */
static int find_places(const char *interface, struct place **out, size_t *count, char *error,
		       size_t n)
{
	struct place *place;
	int err;

	if (!interface)
		return pinned_list(out, count, error, n);
	place = calloc(1, sizeof(*place));
	if (!place)
		return failed(error, n, ENOMEM, "out of memory");
	err = pinned_find(interface, place, error, n);
	if (!err && access(place->path, F_OK))
		err = failed(error, n, ENOENT, "nothing of mplex is attached to %s", interface);
	if (err) {
		free(place);
		return err;
	}
	*out = place;
	*count = 1;
	return 0;
}

static int status(const char *interface, bool json)
{
	SCOPED(scoped_free) struct place *places = NULL;
	SCOPED(scoped_json) json_t *list = json ? json_array() : NULL;
	char error[ERROR_SIZE];
	bool problem = false;
	uint64_t netns;
	size_t count;

	if (pinned_netns(&netns, error, sizeof(error)) ||
	    find_places(interface, &places, &count, error, sizeof(error)))
		return command_failed(error);
	for (size_t i = 0; i < count; i++) {
		if (i && !json)
			putchar('\n');
		if (tell(&places[i], netns, list, &problem))
			return command_failed("out of memory");
	}
	if (json) {
		json_dumpf(list, stdout, JSON_COMPACT);
		putchar('\n');
	} else if (!count) {
		puts("nothing of mplex is attached");
	}
	if (fflush(stdout) || ferror(stdout))
		return command_failed("cannot write to standard output");
	return problem ? STATUS_FAILED : STATUS_DONE;
}

static int status_main(int argc, char **argv)
{
	bool json;

	if (!command_json(argc, argv, &status_command, &json))
		return STATUS_USAGE;
	if (argc - optind > 1)
		return command_usage("one interface, or none for all");
	return status(argv[optind], json);
}

const struct command status_command = {
	.name = "status",
	.arguments = "[IFACE] [--json]",
	.summary = "Says what is attached, of one interface or of all, and whether what it needs "
		   "still holds",
	.options = "  --json             one JSON array\n"
		   "\nThe exit status is 1 where something does not hold.\n\n",
	.main = status_main,
};
