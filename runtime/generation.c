/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Generations as directories of pins.
 *
 * Pinning takes many steps and so does removing. Neither needs to be atomic: a generation counts
 * only while the XDP link runs its program, which is after the first and before the second.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "document.h"
#include "error.h"
#include "generation.h"
#include "object.h"
#include "scope.h"
#include "section.h"

enum {
	PATH_SIZE = GENERATION_PATH + 64,
	OPEN_DIRECTORIES = 8, /* that a removal may have open */
};

uint32_t program_id(int program)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	return program < 0 || bpf_obj_get_info_by_fd(program, &info, &size) ? 0 : info.id;
}

static void directory(const char *place, uint32_t id, char path[GENERATION_PATH])
{
	snprintf(path, GENERATION_PATH, "%s/%" PRIu32, place, id);
}

void generation_path(const struct generation *generation, const char *name, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "%s/%s", generation->path, name);
}

/* bpffs allows no dot in a name; libbpf calls data sections "mplex.rodata". */
static void map_path(const char *generation, const char *map, char path[PATH_SIZE])
{
	const char *dot = strchr(map, '.');

	snprintf(path, PATH_SIZE, "%s/maps/%s", generation, dot ? dot + 1 : map);
	for (char *c = strrchr(path, '/'); *c; c++) {
		if (*c == '.')
			*c = '_';
	}
}

static int make_directories(const char *generation)
{
	static const char *const below[] = {"", "/programs", "/maps"};
	char path[PATH_SIZE];

	for (size_t i = 0; i < sizeof(below) / sizeof(*below); i++) {
		snprintf(path, sizeof(path), "%s%s", generation, below[i]);
		if (mkdir(path, 0700))
			return -errno;
	}
	return 0;
}

static int pin_program(const char *generation, const char *name, int program)
{
	char path[PATH_SIZE];

	if (program < 0)
		return 0;
	snprintf(path, sizeof(path), "%s/programs/%s", generation, name);
	return bpf_obj_pin(program, path) ? -errno : 0;
}

static int pin_maps(const char *generation, const struct object *object)
{
	struct bpf_map *map;
	char path[PATH_SIZE];

	bpf_object__for_each_map(map, object->bpf)
	{
		if (bpf_map__fd(map) < 0)
			continue;
		map_path(generation, bpf_map__name(map), path);
		if (bpf_obj_pin(bpf_map__fd(map), path))
			return -errno;
	}
	return 0;
}

/*
 * The kernel has a copy, but gives it by its id alone, and that only to CAP_SYS_ADMIN. Without it
 * nobody could read the maps by the names of their members.
 */
static int pin_btf(const char *generation, const struct object *object)
{
	SCOPED(scoped_close) int fd = -1;
	uint32_t size;
	const void *data = btf__raw_data(bpf_object__btf(object->bpf), &size);
	char path[PATH_SIZE];

	if (!data)
		return -ENOMEM;
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "mplex_btf", sizeof(uint32_t), size, 1, NULL);
	if (fd < 0)
		return fd;
	snprintf(path, sizeof(path), "%s/btf", generation);
	if (bpf_map_update_elem(fd, &(uint32_t){0}, data, BPF_ANY) || bpf_map_freeze(fd) ||
	    bpf_obj_pin(fd, path))
		return -errno;
	return 0;
}

static int pin_record(const char *generation, const struct object *object,
		      const struct programs *programs, const struct record *record, char *error,
		      size_t n)
{
	struct record complete = *record;
	struct bytes manifest = {};
	char path[PATH_SIZE];
	json_t *document;
	int err;

	/* object_open has seen that there is one, and that it ends with a NUL. */
	err = section_find(&object->file, ".mplex", &manifest, error, n);
	if (err)
		return err;
	complete.manifest_text = manifest.data;
	complete.xdp = program_id(programs->xdp);
	complete.ingress = program_id(programs->ingress);
	complete.egress = program_id(programs->egress);
	document = record_document(&complete);
	if (!document)
		return failed(
			error, n, EINVAL,
			"cannot keep a record of %s: a name in it is not UTF-8, or memory ran "
			"out",
			object->path);
	snprintf(path, sizeof(path), "%s/record", generation);
	err = document_pin(document, path, error, n);
	json_decref(document);
	return err;
}

int generation_pin(const char *place, const struct object *object, const struct programs *programs,
		   const struct record *record, char *error, size_t n)
{
	char path[GENERATION_PATH];
	int err;

	directory(place, program_id(programs->xdp), path);
	err = make_directories(path);
	if (!err)
		err = pin_program(path, "xdp", programs->xdp);
	if (!err)
		err = pin_program(path, "ingress", programs->ingress);
	if (!err)
		err = pin_program(path, "egress", programs->egress);
	if (!err)
		err = pin_maps(path, object);
	if (!err)
		err = pin_btf(path, object);
	if (err)
		return failed(error, n, -err, "cannot pin the programs in %s: %s", path,
			      strerror(-err));
	return pin_record(path, object, programs, record, error, n);
}

/* Opens the program of the record; 0: there is none. -ENOENT where another or none is pinned. */
static int open_program(const char *generation, const char *name, uint32_t id, int *out)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	char path[PATH_SIZE];

	if (!id)
		return 0;
	snprintf(path, sizeof(path), "%s/programs/%s", generation, name);
	*out = bpf_obj_get(path);
	if (*out < 0 || bpf_obj_get_info_by_fd(*out, &info, &size))
		return -errno;
	return info.id == id ? 0 : -ENOENT;
}

int generation_open(const char *place, uint32_t id, struct generation *out, char *error, size_t n)
{
	SCOPED(generation_close) struct generation generation = NO_GENERATION;
	struct record *record = &generation.record;
	struct programs *programs = &generation.programs;
	char path[PATH_SIZE];
	json_t *document;
	int err;

	generation.id = id;
	directory(place, id, generation.path);
	generation_path(&generation, "record", path);
	err = document_read(path, &document, error, n);
	if (!err)
		err = record_parse(document, record, error, n);
	if (err)
		return err;
	err = record->xdp == id ? open_program(generation.path, "xdp", id, &programs->xdp)
				: -ENOENT;
	if (!err)
		err = open_program(generation.path, "ingress", record->ingress, &programs->ingress);
	if (!err)
		err = open_program(generation.path, "egress", record->egress, &programs->egress);
	if (err == -ENOENT)
		return failed(error, n, ENOENT, "%s lacks a program", generation.path);
	if (err)
		return failed(error, n, -err, "cannot open the programs in %s: %s", generation.path,
			      strerror(-err));
	*out = generation;
	generation = NO_GENERATION;
	return 0;
}

void generation_close(struct generation *generation)
{
	scoped_close(&generation->programs.xdp);
	scoped_close(&generation->programs.ingress);
	scoped_close(&generation->programs.egress);
	record_free(&generation->record);
	*generation = NO_GENERATION;
}

int generation_map(const struct generation *generation, const char *name)
{
	char path[PATH_SIZE];
	int fd;

	map_path(generation->path, name, path);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

struct btf *generation_btf(const struct generation *generation)
{
	SCOPED(scoped_free) char *data = NULL;
	SCOPED(scoped_close) int fd = -1;
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);
	char path[PATH_SIZE];
	struct btf *btf;

	generation_path(generation, "btf", path);
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
		return NULL;
	data = malloc(info.value_size);
	if (!data || bpf_map_lookup_elem(fd, &(uint32_t){0}, data))
		return NULL;
	btf = btf__new(data, info.value_size);
	return libbpf_get_error(btf) ? NULL : btf;
}

static void scoped_closedir(DIR **entries)
{
	if (*entries)
		closedir(*entries);
}

int generation_list(const char *place, uint32_t **out)
{
	SCOPED(scoped_closedir) DIR *entries = opendir(place);
	SCOPED(scoped_free) uint32_t *ids = NULL;
	const struct dirent *entry;
	int count = 0;

	while (entries && (entry = readdir(entries))) {
		uint32_t *grown;
		char *end;
		unsigned long id = strtoul(entry->d_name, &end, 10);

		if (!isdigit((unsigned char)*entry->d_name) || *end || id > UINT32_MAX)
			continue;
		grown = reallocarray(ids, count + 1, sizeof(*ids));
		if (!grown)
			return -ENOMEM;
		ids = grown;
		ids[count++] = id;
	}
	*out = TAKE(ids);
	return count;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status, (void)type, (void)where;
	remove(path);
	return 0;
}

void generation_remove(const char *place, uint32_t id)
{
	char path[GENERATION_PATH];

	directory(place, id, path);
	nftw(path, remove_entry, OPEN_DIRECTORIES, FTW_DEPTH | FTW_PHYS);
}
