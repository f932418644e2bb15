/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What one generation hands down to the next, so that clients notice nothing: connections in their
 * handshake (the cookie key), connections just bound (`pending`), tracked flows (`flows`).
 *
 * The maps themselves are shared, not copied: while one program takes over from the other both run,
 * on different CPUs.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "carry.h"
#include "error.h"
#include "generation.h"
#include "layout.h"
#include "object.h"
#include "rodata.h"
#include "scope.h"

enum {
	PORTS = 65536,
	REPLIES_TRACKED = 0x10000, /* docs/object.md */
	COOKIE_KEY_SIZE = 16,
	MAPS_MAX = 64, /* of one program */
};

static bool map_info(int fd, struct bpf_map_info *info)
{
	uint32_t size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, info, &size);
}

/* The type of a data section, which libbpf gives its map only when it loads it; 0: it has none. */
static uint32_t section_type(const struct btf *btf, const struct bpf_map *map)
{
	const char *dot = strchr(bpf_map__name(map), '.');
	int id = dot ? btf__find_by_name_kind(btf, dot, BTF_KIND_DATASEC) : -ENOENT;

	return id < 0 ? 0 : id;
}

/* Whether the object's map means by its bytes what the one of a generation does. */
static bool agrees(const struct object *object, const struct bpf_map *map, int fd,
		   const struct btf *btf)
{
	const struct btf *own = bpf_object__btf(object->bpf);
	uint32_t key, value;
	struct bpf_map_info info;

	/* 0 entries: one for each CPU, which the load sees to. */
	if (!map_info(fd, &info) || info.type != bpf_map__type(map) ||
	    info.key_size != bpf_map__key_size(map) ||
	    info.value_size != bpf_map__value_size(map) ||
	    (bpf_map__max_entries(map) && info.max_entries != bpf_map__max_entries(map)) ||
	    info.map_flags != bpf_map__map_flags(map))
		return false;
	if (!btf || !own)
		return false;
	if (bpf_map__is_internal(map))
		return layout_equal(own, section_type(own, map), btf, section_type(btf, map));
	/* Not every type of map has types of its own. */
	if (!bpf_map__btf_value_type_id(map))
		return true;
	return !layout_map(btf, bpf_map__name(map), &key, &value) &&
	       layout_equal(own, bpf_map__btf_key_type_id(map), btf, key) &&
	       layout_equal(own, bpf_map__btf_value_type_id(map), btf, value);
}

static void name_dropped(char *dropped, size_t size, const char *name)
{
	size_t length = strlen(dropped);

	snprintf(dropped + length, size - length, "%s%s", length ? ", " : "", name);
}

/* A map is carried, was not there before, or differs. */
static int carry_map(struct object *object, struct bpf_map *map, const struct generation *from,
		     const struct btf *btf, bool with, char *dropped, size_t dropped_size)
{
	SCOPED(scoped_close) int fd = generation_map(from, bpf_map__name(map));

	if (fd < 0)
		return 0;
	if (!with || !agrees(object, map, fd, btf)) {
		name_dropped(dropped, dropped_size, bpf_map__name(map));
		return 0;
	}
	return bpf_map__reuse_fd(map, fd) ? -errno : 1;
}

static bool is_constants(const char *map)
{
	return strstr(map, ".rodata");
}

/*
 * What a generation does not share: constants; counters, by an index that is another listener's in
 * other rules (totals carries them by name); a cache.
 */
static bool is_own(const char *map)
{
	return is_constants(map) || !strcmp(map, "counters") || !strcmp(map, "recent_flows");
}

/* Entries of these maps rely on what was noted in another: they go together or not at all. */
static const char *leans_on(const char *map)
{
	return !strcmp(map, "flows") ? "reply_ports" : !strcmp(map, "pending") ? "bound_ports" : "";
}

static int carry_maps(struct object *object, const struct generation *from, char *dropped,
		      size_t dropped_size)
{
	SCOPED(scoped_btf_free) struct btf *btf = generation_btf(from);
	struct bpf_map *map;

	bpf_object__for_each_map(map, object->bpf)
	{
		const char *other = leans_on(bpf_map__name(map));
		const struct bpf_map *support = bpf_object__find_map_by_name(object->bpf, other);
		int carried;

		if (is_own(bpf_map__name(map)))
			continue;
		if (support) {
			SCOPED(scoped_close) int fd = generation_map(from, other);

			carried =
				carry_map(object, map, from, btf, agrees(object, support, fd, btf),
					  dropped, dropped_size);
		} else {
			carried = carry_map(object, map, from, btf, true, dropped, dropped_size);
		}
		if (carried < 0)
			return carried;
	}
	return 0;
}

int carry_state(struct object *object, const struct generation *from, char *dropped,
		size_t dropped_size, char *error, size_t n)
{
	SCOPED(rodata_free) struct rodata rodata = {};
	const void *cookie_key;
	int err;

	*dropped = '\0';
	err = carry_maps(object, from, dropped, dropped_size);
	if (err)
		return failed(error, n, -err, "cannot take over the maps in %s: %s", from->path,
			      strerror(-err));
	rodata_read(from, &rodata);
	cookie_key = rodata_find(&rodata, "mplex_key", COOKIE_KEY_SIZE);
	if (cookie_key)
		object_set_constant(object, "mplex_key", cookie_key, COOKIE_KEY_SIZE);
	return 0;
}

/* What a program does: its instructions, and which of the object's maps it uses, sorted. */
struct use {
	uint32_t maps[MAPS_MAX];
	uint32_t count;
	uint8_t tag[BPF_TAG_SIZE];
};

/* Whether the object has that map, its constants aside: libbpf binds these to every program. */
static bool has_map(const struct object *object, uint32_t id)
{
	const struct bpf_map *map;

	bpf_object__for_each_map(map, object->bpf)
	{
		struct bpf_map_info info;

		if (!is_constants(bpf_map__name(map)) && map_info(bpf_map__fd(map), &info) &&
		    info.id == id)
			return true;
	}
	return false;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

	return one < other ? -1 : one > other;
}

static bool program_use(const struct object *object, int program, struct use *use)
{
	struct bpf_prog_info info = {
		.nr_map_ids = MAPS_MAX,
		.map_ids = (uintptr_t)use->maps,
	};
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &size) || info.nr_map_ids > MAPS_MAX)
		return false;
	memcpy(use->tag, info.tag, sizeof(use->tag));
	for (uint32_t i = 0; i < info.nr_map_ids; i++) {
		if (has_map(object, use->maps[i]))
			use->maps[use->count++] = use->maps[i];
	}
	qsort(use->maps, use->count, sizeof(*use->maps), compare_ids);
	return true;
}

/* Whether a program reads constants, which another copy of it may have otherwise. */
static bool reads_constants(const struct bpf_program *program)
{
	const struct bpf_insn *instructions = bpf_program__insns(program);

	for (size_t i = 0; i < bpf_program__insn_cnt(program); i++) {
		struct bpf_map_info info;

		if (instructions[i].code == (BPF_LD | BPF_IMM | BPF_DW) &&
		    instructions[i].src_reg == BPF_PSEUDO_MAP_VALUE &&
		    (!map_info(instructions[i].imm, &info) || is_constants(info.name)))
			return true;
	}
	return false;
}

int carry_program(const struct object *object, const struct bpf_program *program, int running)
{
	int loaded = program ? bpf_program__fd(program) : -1;
	struct use ours = {}, theirs = {};

	if (loaded < 0 || running < 0 || reads_constants(program) ||
	    !program_use(object, loaded, &ours) || !program_use(object, running, &theirs))
		return loaded;
	return memcmp(ours.tag, theirs.tag, sizeof(ours.tag)) || ours.count != theirs.count ||
			       memcmp(ours.maps, theirs.maps, ours.count * sizeof(*ours.maps))
		       ? loaded
		       : running;
}

/* What a backend port's entry is to be under these rules; `listen` stands for the listen port's. */
static uint32_t wanted(const struct manifest *manifest, uint16_t backend, uint32_t listen)
{
	uint32_t entry = 0;

	for (size_t i = 0; i < manifest->listener_count; i++) {
		const struct manifest_listener *listener = &manifest->listeners[i];

		for (size_t j = 0; j < listener->port_count; j++) {
			if (listener->ports[j] != backend)
				continue;
			if (listener->replies == MANIFEST_STATELESS && listener->port == listen)
				return listen;
			if (listener->replies == MANIFEST_TRACKED)
				entry = REPLIES_TRACKED;
		}
	}
	return entry;
}

/* The entries by backend port, in memory that is shared with the programs; NULL where they cannot.
 */
static uint32_t *map_reply_ports(const struct generation *generation, void **memory, size_t *size)
{
	SCOPED(scoped_close) int fd = generation_map(generation, "reply_ports");
	SCOPED(scoped_btf_free) struct btf *btf = generation_btf(generation);
	struct bpf_map_info info;
	struct extent ports;
	uint32_t key, value;

	if (!map_info(fd, &info) || !btf || layout_map(btf, "reply_ports", &key, &value) ||
	    layout_member(btf, value, "port", &ports) || ports.size != PORTS * sizeof(uint32_t))
		return NULL;
	*size = info.value_size;
	*memory = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return *memory == MAP_FAILED ? NULL : (uint32_t *)((char *)*memory + ports.offset);
}

void carry_reply_ports(const struct generation *from, const struct generation *to)
{
	const struct manifest *manifest = &from->record.manifest;
	void *memory;
	size_t size;
	uint32_t *entries = map_reply_ports(to, &memory, &size);

	if (!entries)
		return;
	for (size_t i = 0; i < manifest->listener_count; i++) {
		const struct manifest_listener *listener = &manifest->listeners[i];

		for (size_t j = 0; j < listener->port_count; j++) {
			uint16_t backend = listener->ports[j];
			uint32_t old = listener->port;

			/* Where XDP has written since, it knows better. */
			if (listener->replies == MANIFEST_STATELESS)
				__atomic_compare_exchange_n(
					&entries[backend], &old,
					wanted(&to->record.manifest, backend, old), false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED);
		}
	}
	munmap(memory, size);
}
