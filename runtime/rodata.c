/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The constants are frozen in a map of their own, which is pinned with the others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "constants.h"
#include "generation.h"
#include "layout.h"
#include "rodata.h"
#include "scope.h"

int rodata_read(const struct generation *generation, struct rodata *out)
{
	SCOPED(scoped_close) int map = generation_map(generation, ".rodata");
	SCOPED(scoped_btf_free) struct btf *btf = generation_btf(generation);
	SCOPED(scoped_free) char *value = NULL;
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info), key = 0;

	if (map < 0)
		return map;
	if (!btf)
		return -EINVAL;
	if (bpf_obj_get_info_by_fd(map, &info, &size))
		return -errno;
	value = malloc(info.value_size);
	if (!value)
		return -ENOMEM;
	if (bpf_map_lookup_elem(map, &key, value))
		return -errno;
	*out = (struct rodata){.btf = TAKE(btf), .value = TAKE(value), .size = info.value_size};
	return 0;
}

void rodata_free(struct rodata *rodata)
{
	btf__free(rodata->btf);
	free(rodata->value);
	*rodata = (struct rodata){};
}

const void *rodata_find(const struct rodata *rodata, const char *name, size_t size)
{
	struct extent extent;

	if (!rodata->btf || layout_variable(rodata->btf, ".rodata", name, &extent) ||
	    extent.size < size || extent.offset > rodata->size ||
	    extent.size > rodata->size - extent.offset)
		return NULL;
	return rodata->value + extent.offset;
}

bool rodata_has_addresses(const struct rodata *rodata)
{
	return rodata_find(rodata, "mplex_local_v4_count", sizeof(uint32_t)) ||
	       rodata_find(rodata, "mplex_local_v6_count", sizeof(uint32_t));
}

bool rodata_differs(const struct rodata *rodata, const struct constant *now)
{
	const void *was = rodata_find(rodata, now->name, now->size);

	return was && memcmp(was, now->value, now->size);
}
