/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the counters out of their maps. Every possible CPU has its own, whether it is online or
 * not, so that counting needs no atomic operation.
 */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "counters.h"
#include "error.h"
#include "layout.h"
#include "scope.h"

static int find_members(const struct btf *btf, const char *name, const struct bpf_map_info *map,
			struct extent *packets, struct extent *bytes)
{
	uint32_t key, value;

	if (layout_map(btf, name, &key, &value) || layout_member(btf, value, "packets", packets) ||
	    layout_member(btf, value, "bytes", bytes) || packets->size != sizeof(uint64_t) ||
	    bytes->size != sizeof(uint64_t) || packets->offset + packets->size > map->value_size ||
	    bytes->offset + bytes->size > map->value_size)
		return -EINVAL;
	return 0;
}

static int read_map(const struct btf *btf, const char *name, int map, struct count **out,
		    size_t *read, char *error, size_t n)
{
	SCOPED(scoped_free) struct count *counts = NULL;
	SCOPED(scoped_free) char *values = NULL;
	struct extent packets, bytes;
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);
	int cpus = libbpf_num_possible_cpus();
	size_t stride;

	if (cpus < 0)
		return failed(error, n, -cpus, "cannot tell the number of CPUs: %s",
			      strerror(-cpus));
	if (bpf_obj_get_info_by_fd(map, &info, &size))
		return failed(error, n, errno, "cannot read the counters: %s", strerror(errno));
	if (find_members(btf, name, &info, &packets, &bytes))
		return failed(error, n, EINVAL,
			      "the counters have a layout that this mplex-run does not know: use "
			      "the mplex-run that came with the mplexc that made the object");
	/* The kernel rounds each CPU's value up to eight bytes. */
	stride = (info.value_size + 7) / 8 * 8;
	counts = calloc(info.max_entries, sizeof(*counts));
	values = calloc(cpus, stride);
	if (!counts || !values)
		return failed(error, n, ENOMEM, "cannot read the counters: out of memory");

	for (uint32_t i = 0; i < info.max_entries; i++) {
		if (bpf_map_lookup_elem(map, &i, values))
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
	*read = info.max_entries;
	return 0;
}

int counters_read(const struct btf *btf, int xdp, int ingress, struct counters *out, char *error,
		  size_t n)
{
	SCOPED(counters_free) struct counters counters = {};
	int err;

	err = read_map(btf, "counters", xdp, &counters.xdp, &counters.xdp_count, error, n);
	if (!err && ingress >= 0)
		err = read_map(btf, "ingress_counters", ingress, &counters.ingress,
			       &counters.ingress_count, error, n);
	if (err)
		return err;
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
