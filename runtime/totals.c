/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Carries counts from one generation to the next by names: listener, reason, route. What the next
 * one does not have is dropped.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "counters.h"
#include "document.h"
#include "error.h"
#include "report.h"
#include "scope.h"
#include "totals.h"

enum {
	PATH_SIZE = GENERATION_PATH + 64
};

static void scoped_json(json_t **value)
{
	json_decref(*value);
}

static struct count get_count(const json_t *pair)
{
	return (struct count){
		.packets = json_integer_value(json_array_get(pair, 0)),
		.bytes = json_integer_value(json_array_get(pair, 1)),
	};
}

static json_t *make_count(struct count count)
{
	return json_pack("[I, I]", (json_int_t)count.packets, (json_int_t)count.bytes);
}

static void add(struct count *sum, struct count count)
{
	sum->packets += count.packets;
	sum->bytes += count.bytes;
}

/* A member that is an object; it is made where it is missing. */
static json_t *member(json_t *object, const char *name)
{
	json_t *found = json_object_get(object, name);

	if (!found) {
		found = json_object();
		json_object_set_new(object, name, found);
	}
	return found;
}

/* Adds rows to the "rows" of a document. */
static void add_to_document(json_t *rows, const struct row *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct row *row = &list[i];
		struct count sum = row->count;
		json_t *counts;

		if (!sum.packets)
			continue;
		counts = member(member(rows, row->listener), row->route ? "routes" : "reasons");
		add(&sum, get_count(json_object_get(counts, row->route ?: row->reason)));
		json_object_set_new(counts, row->route ?: row->reason, make_count(sum));
	}
}

/* The routes of a listener taken together, for rules that do not count them one by one. */
static struct count sum_of_routes(const json_t *listener)
{
	struct count sum = {};
	json_t *pair;
	const char *tag;

	json_object_foreach(json_object_get(listener, "routes"), tag, pair)
		add(&sum, get_count(pair));
	return sum;
}

static void add_to_rows(const json_t *rows, struct row *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct row *row = &list[i];
		const json_t *listener = json_object_get(rows, row->listener);
		const json_t *counts = json_object_get(listener, row->route ? "routes" : "reasons");

		add(&row->count, get_count(json_object_get(counts, row->route ?: row->reason)));
		if (!row->route && !strcmp(row->reason, "routed"))
			add(&row->count, sum_of_routes(listener));
	}
}

static int read_counters(const struct generation *generation, struct counters *out, char *error,
			 size_t n)
{
	SCOPED(scoped_close) int xdp = generation_map(generation, "counters");
	SCOPED(scoped_close) int ingress = generation_map(generation, "ingress_counters");
	SCOPED(scoped_btf_free) struct btf *btf = generation_btf(generation);

	if (xdp < 0)
		return failed(error, n, -xdp, "cannot open the counters in %s: %s",
			      generation->path, strerror(-xdp));
	if (!btf)
		return failed(error, n, EINVAL, "cannot read the BTF in %s", generation->path);
	return counters_read(btf, xdp, ingress, out, error, n);
}

bool totals_there(const struct generation *generation)
{
	char path[PATH_SIZE];

	generation_path(generation, "totals", path);
	return !access(path, F_OK);
}

/* The document; where there is none, *out is NULL. */
static int read_document(const struct generation *generation, json_t **out, char *error, size_t n)
{
	char path[PATH_SIZE];
	int err;

	*out = NULL;
	generation_path(generation, "totals", path);
	err = document_read(path, out, error, n);
	return err == -ENOENT ? 0 : err;
}

static int write_document(const struct generation *generation, const json_t *document, char *error,
			  size_t n)
{
	char path[PATH_SIZE];

	generation_path(generation, "totals", path);
	return document_pin(document, path, error, n);
}

/* The rows of a generation alone. raw is what its maps have, base what of it is not its own. */
static int own_rows(const struct generation *generation, const struct counters *raw,
		    const json_t *base, struct row **out, size_t *count, char *error, size_t n)
{
	for (size_t i = 0; i < raw->ingress_count && i < json_array_size(base); i++) {
		struct count before = get_count(json_array_get(base, i));

		raw->ingress[i].packets -= before.packets;
		raw->ingress[i].bytes -= before.bytes;
	}
	if (report_rows(&generation->record.manifest, raw, out, count))
		return failed(error, n, ENOMEM, "cannot read the counters: out of memory");
	return 0;
}

/* The ingress counters as a base for who takes them over. */
static json_t *make_base(const struct counters *raw)
{
	json_t *base = json_array();

	for (size_t i = 0; i < raw->ingress_count; i++)
		json_array_append_new(base, make_count(raw->ingress[i]));
	return base;
}

/* Adds what another generation counted in the same map to what is not this one's own. */
static void add_to_base(json_t *base, const struct counters *raw)
{
	for (size_t i = 0; i < raw->ingress_count; i++) {
		struct count sum = raw->ingress[i];

		add(&sum, get_count(json_array_get(base, i)));
		if (i < json_array_size(base))
			json_array_set_new(base, i, make_count(sum));
		else
			json_array_append_new(base, make_count(sum));
	}
}

/*
 * The totals of a generation whose document is there, or that was the first. *base, if wanted, is
 * what its ingress counters had at the same moment.
 */
static int settled_rows(const struct generation *generation, const json_t *document,
			struct row **out, size_t *count, json_t **base, char *error, size_t n)
{
	SCOPED(counters_free) struct counters raw = {};
	int err = read_counters(generation, &raw, error, n);

	if (err)
		return err;
	if (base)
		*base = make_base(&raw);
	err = own_rows(generation, &raw, json_object_get(document, "base"), out, count, error, n);
	if (!err)
		add_to_rows(json_object_get(document, "rows"), *out, *count);
	return err;
}

/* A document of what a generation has counted in all. */
static int make_document(const struct generation *before, json_t **out, char *error, size_t n)
{
	SCOPED(scoped_json) json_t *document = NULL, *base = NULL;
	SCOPED(scoped_free) struct row *rows = NULL;
	json_t *made = json_object();
	size_t count;
	int err = read_document(before, &document, error, n);

	if (!err)
		err = settled_rows(before, document, &rows, &count, &base, error, n);
	if (err) {
		json_decref(made);
		return err;
	}
	add_to_document(made, rows, count);
	*out = json_pack("{s:o, s:O, s:[]}", "rows", made, "base", base, "absorbed");
	return *out ? 0 : failed(error, n, ENOMEM, "cannot keep the counters: out of memory");
}

/* Whether two generations count hand-overs in the same map. */
static bool share_ingress(const struct generation *a, const struct generation *b)
{
	SCOPED(scoped_close) int one = generation_map(a, "ingress_counters");
	SCOPED(scoped_close) int other = generation_map(b, "ingress_counters");
	struct bpf_map_info info = {}, other_info = {};
	uint32_t size = sizeof(info), other_size = sizeof(info);

	return one >= 0 && other >= 0 && !bpf_obj_get_info_by_fd(one, &info, &size) &&
	       !bpf_obj_get_info_by_fd(other, &other_info, &other_size) && info.id == other_info.id;
}

int totals_carry(const struct generation *generation, const struct generation *before, char *error,
		 size_t n)
{
	SCOPED(scoped_json) json_t *document = NULL;
	int err = make_document(before, &document, error, n);

	if (err)
		return err;
	if (!share_ingress(generation, before))
		json_object_set_new(document, "base", json_array());
	return write_document(generation, document, error, n);
}

/* As settled_rows, for a generation whose document is not there yet. */
static int unsettled_rows(const char *place, const struct generation *generation, struct row **out,
			  size_t *count, char *error, size_t n)
{
	SCOPED(generation_close) struct generation before = NO_GENERATION;
	SCOPED(scoped_json) json_t *document = NULL;
	SCOPED(counters_free) struct counters raw = {};
	int err;

	err = generation_open(place, generation->record.previous, &before, error, n);
	if (!err)
		err = make_document(&before, &document, error, n);
	if (!err)
		err = read_counters(generation, &raw, error, n);
	if (err)
		return err;
	/* What both count in one map is in the document. */
	err = own_rows(generation, &raw,
		       share_ingress(generation, &before) ? json_object_get(document, "base")
							  : NULL,
		       out, count, error, n);
	if (!err)
		add_to_rows(json_object_get(document, "rows"), *out, *count);
	return err;
}

int totals_rows(const char *place, const struct generation *generation, struct row **out,
		size_t *count, char *error, size_t n)
{
	SCOPED(scoped_json) json_t *document = NULL;
	int err = read_document(generation, &document, error, n);

	if (err)
		return err;
	if (!document && generation->record.previous)
		return unsettled_rows(place, generation, out, count, error, n);
	return settled_rows(generation, document, out, count, NULL, error, n);
}

static bool has_absorbed(const json_t *document, uint32_t id)
{
	const json_t *list = json_object_get(document, "absorbed");

	for (size_t i = 0; i < json_array_size(list); i++) {
		if (json_integer_value(json_array_get(list, i)) == id)
			return true;
	}
	return false;
}

int totals_absorb(const struct generation *generation, const struct generation *gone, char *error,
		  size_t n)
{
	SCOPED(scoped_json) json_t *document = NULL, *its_document = NULL;
	SCOPED(counters_free) struct counters raw = {};
	SCOPED(scoped_free) struct row *rows = NULL;
	bool shared = share_ingress(generation, gone);
	size_t count;
	int err = read_document(generation, &document, error, n);

	if (!err && has_absorbed(document, gone->id))
		return 0;
	if (!err)
		err = read_document(gone, &its_document, error, n);
	if (!err)
		err = read_counters(gone, &raw, error, n);
	if (err)
		return err;
	/* Without its document it ran for an instant, if at all: what is its own is not known. */
	if (shared && !its_document)
		memset(raw.ingress, 0, raw.ingress_count * sizeof(*raw.ingress));
	err = own_rows(gone, &raw, json_object_get(its_document, "base"), &rows, &count, error, n);
	if (err)
		return err;
	if (!document)
		document = json_pack("{s:{}, s:[], s:[]}", "rows", "base", "absorbed");
	if (shared)
		add_to_base(json_object_get(document, "base"), &raw);
	add_to_document(json_object_get(document, "rows"), rows, count);
	json_array_append_new(json_object_get(document, "absorbed"), json_integer(gone->id));
	return write_document(generation, document, error, n);
}
