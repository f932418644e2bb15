/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Layouts out of an object's BTF, by name, so that this program knows no offset of its own and
 * reads objects that an older or newer mplexc made.
 */
#include <errno.h>
#include <string.h>

#include <bpf/btf.h>

#include "layout.h"

enum {
	TYPE_DEPTH = 16 /* of types inside types, beyond which they count as different */
};

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

/* The variable of that name in a data section, or NULL. */
static const struct btf_var_secinfo *find_variable(const struct btf *btf, const char *section,
						   const char *name)
{
	const struct btf_var_secinfo *variable;
	const struct btf_type *data;
	int id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);

	if (id < 0)
		return NULL;
	data = btf__type_by_id(btf, id);
	variable = btf_var_secinfos(data);
	for (int i = 0; i < btf_vlen(data); i++, variable++) {
		const struct btf_type *type = btf__type_by_id(btf, variable->type);
		const char *found = type ? btf__name_by_offset(btf, type->name_off) : NULL;

		if (found && !strcmp(found, name))
			return variable;
	}
	return NULL;
}

int layout_variable(const struct btf *btf, const char *section, const char *name,
		    struct extent *out)
{
	const struct btf_var_secinfo *variable = find_variable(btf, section, name);

	if (!variable)
		return -ENOENT;
	out->offset = variable->offset;
	out->size = variable->size;
	return 0;
}

/* The type that a member points to, as __type(name, ...) of a map's definition has it; 0: none. */
static uint32_t pointed_to(const struct btf *btf, const struct btf_type *definition,
			   const char *name)
{
	const struct btf_member *member = btf_members(definition);

	for (int i = 0; i < btf_vlen(definition); i++, member++) {
		const char *found = btf__name_by_offset(btf, member->name_off);
		const struct btf_type *type = btf__type_by_id(btf, member->type);

		if (found && !strcmp(found, name))
			return type && btf_is_ptr(type) ? type->type : 0;
	}
	return 0;
}

int layout_map(const struct btf *btf, const char *name, uint32_t *key, uint32_t *value)
{
	const struct btf_var_secinfo *variable = find_variable(btf, ".maps", name);
	const struct btf_type *definition;
	uint32_t found_key, found_value;
	int id;

	id = variable ? btf__resolve_type(btf, btf__type_by_id(btf, variable->type)->type)
		      : -ENOENT;
	definition = id < 0 ? NULL : btf__type_by_id(btf, id);
	if (!definition || !btf_is_struct(definition))
		return -ENOENT;
	found_key = pointed_to(btf, definition, "key");
	found_value = pointed_to(btf, definition, "value");
	if (!found_key || !found_value)
		return -ENOENT;
	*key = found_key;
	*value = found_value;
	return 0;
}

static bool members_equal(const struct btf *a, const struct btf_type *type_a, const struct btf *b,
			  const struct btf_type *type_b, int depth);
static bool variables_equal(const struct btf *a, const struct btf_type *type_a, const struct btf *b,
			    const struct btf_type *type_b, int depth);

static bool names_equal(const struct btf *a, uint32_t name_a, const struct btf *b, uint32_t name_b)
{
	const char *one = btf__name_by_offset(a, name_a), *other = btf__name_by_offset(b, name_b);

	return one && other && !strcmp(one, other);
}

static bool types_equal(const struct btf *a, uint32_t id_a, const struct btf *b, uint32_t id_b,
			int depth)
{
	int real_a = btf__resolve_type(a, id_a), real_b = btf__resolve_type(b, id_b);
	const struct btf_type *type_a = real_a < 0 ? NULL : btf__type_by_id(a, real_a);
	const struct btf_type *type_b = real_b < 0 ? NULL : btf__type_by_id(b, real_b);

	if (!type_a || !type_b || !depth || btf_kind(type_a) != btf_kind(type_b))
		return false;
	switch (btf_kind(type_a)) {
	case BTF_KIND_INT:
		return type_a->size == type_b->size && btf_int_bits(type_a) == btf_int_bits(type_b);
	case BTF_KIND_ENUM:
		return type_a->size == type_b->size;
	case BTF_KIND_ARRAY:
		return btf_array(type_a)->nelems == btf_array(type_b)->nelems &&
		       types_equal(a, btf_array(type_a)->type, b, btf_array(type_b)->type,
				   depth - 1);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return members_equal(a, type_a, b, type_b, depth);
	case BTF_KIND_DATASEC:
		return variables_equal(a, type_a, b, type_b, depth);
	case BTF_KIND_VAR:
		return names_equal(a, type_a->name_off, b, type_b->name_off) &&
		       types_equal(a, type_a->type, b, type_b->type, depth - 1);
	}
	return false;
}

static bool members_equal(const struct btf *a, const struct btf_type *type_a, const struct btf *b,
			  const struct btf_type *type_b, int depth)
{
	const struct btf_member *member_a = btf_members(type_a), *member_b = btf_members(type_b);

	if (type_a->size != type_b->size || btf_vlen(type_a) != btf_vlen(type_b))
		return false;
	for (int i = 0; i < btf_vlen(type_a); i++) {
		if (!names_equal(a, member_a[i].name_off, b, member_b[i].name_off) ||
		    btf_member_bit_offset(type_a, i) != btf_member_bit_offset(type_b, i) ||
		    btf_member_bitfield_size(type_a, i) != btf_member_bitfield_size(type_b, i) ||
		    !types_equal(a, member_a[i].type, b, member_b[i].type, depth - 1))
			return false;
	}
	return true;
}

static bool variables_equal(const struct btf *a, const struct btf_type *type_a, const struct btf *b,
			    const struct btf_type *type_b, int depth)
{
	const struct btf_var_secinfo *variable_a = btf_var_secinfos(type_a);
	const struct btf_var_secinfo *variable_b = btf_var_secinfos(type_b);

	if (btf_vlen(type_a) != btf_vlen(type_b))
		return false;
	for (int i = 0; i < btf_vlen(type_a); i++) {
		if (variable_a[i].offset != variable_b[i].offset ||
		    variable_a[i].size != variable_b[i].size ||
		    !types_equal(a, variable_a[i].type, b, variable_b[i].type, depth - 1))
			return false;
	}
	return true;
}

bool layout_equal(const struct btf *a, uint32_t type_a, const struct btf *b, uint32_t type_b)
{
	return types_equal(a, type_a, b, type_b, TYPE_DEPTH);
}
