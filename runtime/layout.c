/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Layouts out of an object's BTF, by name, so that this program knows no offset of its own and
 * reads objects that an older or newer mplexc made.
 */
#include <errno.h>
#include <string.h>

#include <bpf/btf.h>

#include "layout.h"

int layout_member(const struct btf *btf, uint32_t type, const char *name, struct extent *out)
{
	const struct btf_type *structure;
	const struct btf_member *member;
	int id = btf__resolve_type(btf, type);

	structure = id < 0 ? NULL : btf__type_by_id(btf, id);
	if (!structure || !btf_is_struct(structure))
		return -ENOENT;
	member = btf_members(structure);
	for (int i = 0; i < btf_vlen(structure); i++, member++) {
		const char *found = btf__name_by_offset(btf, member->name_off);
		uint32_t bits = btf_member_bit_offset(structure, i);
		int64_t size;

		if (!found || strcmp(found, name))
			continue;
		size = btf__resolve_size(btf, member->type);
		if (size <= 0 || bits % 8 || btf_member_bitfield_size(structure, i) ||
		    bits / 8 + size > structure->size)
			return -ENOENT;
		out->offset = bits / 8;
		out->size = size;
		return 0;
	}
	return -ENOENT;
}

int layout_variable(const struct btf *btf, const char *section, const char *name,
		    struct extent *out)
{
	const struct btf_var_secinfo *variable;
	const struct btf_type *data;
	int id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);

	if (id < 0)
		return -ENOENT;
	data = btf__type_by_id(btf, id);
	variable = btf_var_secinfos(data);
	for (int i = 0; i < btf_vlen(data); i++, variable++) {
		const struct btf_type *type = btf__type_by_id(btf, variable->type);
		const char *found = type ? btf__name_by_offset(btf, type->name_off) : NULL;

		if (!found || strcmp(found, name))
			continue;
		out->offset = variable->offset;
		out->size = variable->size;
		return 0;
	}
	return -ENOENT;
}
