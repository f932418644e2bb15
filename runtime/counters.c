/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the counters out of their maps. Every possible CPU has its own, whether it is online or
 * not, so that counting needs no atomic operation.
 */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "counters.h"
#include "error.h"
#include "layout.h"
#include "object.h"
#include "scope.h"

static int find_members(const struct object *object, const struct bpf_map *map,
			struct extent *packets, struct extent *bytes)
{
	const struct btf *btf = bpf_object__btf(object->bpf);
	uint32_t type = bpf_map__btf_value_type_id(map);

	if (layout_member(btf, type, "packets", packets) ||
	    layout_member(btf, type, "bytes", bytes) || packets->size != sizeof(uint64_t) ||
	    bytes->size != sizeof(uint64_t) ||
	    packets->offset + packets->size > bpf_map__value_size(map) ||
	    bytes->offset + bytes->size > bpf_map__value_size(map))
		return -EINVAL;
	return 0;
}

static int read_map(const struct object *object, const struct bpf_map *map, size_t count,
		    struct count **out, char *error, size_t n)
{
	SCOPED(scoped_free) struct count *counts = calloc(count + 1, sizeof(*counts));
	SCOPED(scoped_free) char *values = NULL;
	struct extent packets, bytes;
	int cpus = libbpf_num_possible_cpus();
	size_t stride;

	if (cpus < 0)
		return failed(error, n, -cpus, "cannot tell the number of CPUs: %s",
			      strerror(-cpus));
	if (find_members(object, map, &packets, &bytes))
		return failed(error, n, EINVAL,
			      "%s has counters in a layout that this mplex-run does not know: use "
			      "the mplex-run that came with the mplexc that made it",
			      object->path);
	/* The kernel rounds each CPU's value up to eight bytes. */
	stride = (bpf_map__value_size(map) + 7) / 8 * 8;
	values = calloc(cpus, stride);
	if (!counts || !values)
		return failed(error, n, ENOMEM, "cannot read the counters: out of memory");

	for (uint32_t i = 0; i < count; i++) {
		if (bpf_map_lookup_elem(bpf_map__fd(map), &i, values))
			return failed(error, n, errno, "cannot read the counters: %s",
				      strerror(errno));
		for (int cpu = 0; cpu < cpus; cpu++) {
			uint64_t value;

			memcpy(&value, values + cpu * stride + packets.offset, sizeof(value));
			counts[i].packets += value;
			memcpy(&value, values + cpu * stride + bytes.offset, sizeof(value));
			counts[i].bytes += value;
		}
	}
	*out = TAKE(counts);
	return 0;
}

int counters_read(const struct object *object, struct counters *out, char *error, size_t n)
{
	SCOPED(counters_free) struct counters counters = {};
	int err;

	counters.xdp_count = bpf_map__max_entries(object->counters);
	err = read_map(object, object->counters, counters.xdp_count, &counters.xdp, error, n);
	if (err)
		return err;
	if (object->ingress_counters) {
		/* As many as the manifest can name: the map is of one size for all objects. */
		counters.ingress_count =
			object->manifest.listener_count * object->manifest.ingress_reason_count;
		err = read_map(object, object->ingress_counters, counters.ingress_count,
			       &counters.ingress, error, n);
		if (err)
			return err;
	}
	*out = counters;
	memset(&counters, 0, sizeof(counters));
	return 0;
}

void counters_free(struct counters *counters)
{
	free(counters->xdp);
	free(counters->ingress);
	memset(counters, 0, sizeof(*counters));
}
