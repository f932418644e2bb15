/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * JSON documents in BPF maps: written once, frozen, pinned.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "document.h"
#include "error.h"
#include "scope.h"

enum {
	DOCUMENT_MAX = 64 << 20, /* bytes that are believed */
	PATH_SIZE = 256,
};

static int write_text(int fd, const char *text, size_t size)
{
	char chunk[DOCUMENT_CHUNK];

	for (uint32_t i = 0; (size_t)i * DOCUMENT_CHUNK < size; i++) {
		size_t at = (size_t)i * DOCUMENT_CHUNK;
		size_t length = size - at < DOCUMENT_CHUNK ? size - at : DOCUMENT_CHUNK;

		memcpy(chunk, text + at, length);
		memset(chunk + length, 0, DOCUMENT_CHUNK - length);
		if (bpf_map_update_elem(fd, &i, chunk, BPF_ANY))
			return -errno;
	}
	return bpf_map_freeze(fd) ? -errno : 0;
}

/* bpf_obj_pin does not replace; a rename does. */
static int pin_over(int fd, const char *path)
{
	char beside[PATH_SIZE];

	if ((size_t)snprintf(beside, sizeof(beside), "%s_new", path) >= sizeof(beside))
		return -ENAMETOOLONG;
	unlink(beside);
	if (bpf_obj_pin(fd, beside))
		return -errno;
	if (rename(beside, path)) {
		int err = -errno;

		unlink(beside);
		return err;
	}
	return 0;
}

int document_pin(const json_t *value, const char *path, char *error, size_t n)
{
	/* json_dumps does not see all that it had no memory for (jansson 2.14). */
	size_t length = json_dumpb(value, NULL, 0, JSON_COMPACT), size = length + 1;
	SCOPED(scoped_free) char *text = calloc(size, 1);
	SCOPED(scoped_close) int fd = -1;
	int err;

	if (!text || !length || json_dumpb(value, text, length, JSON_COMPACT) != length)
		return failed(error, n, ENOMEM, "cannot write %s: out of memory", path);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "mplex_document", sizeof(uint32_t), DOCUMENT_CHUNK,
			    (size + DOCUMENT_CHUNK - 1) / DOCUMENT_CHUNK, NULL);
	err = fd < 0 ? fd : write_text(fd, text, size);
	if (!err)
		err = pin_over(fd, path);
	return err ? failed(error, n, -err, "cannot pin %s: %s", path, strerror(-err)) : 0;
}

static int read_text(int fd, size_t chunks, char *text)
{
	for (uint32_t i = 0; i < chunks; i++) {
		if (bpf_map_lookup_elem(fd, &i, text + (size_t)i * DOCUMENT_CHUNK))
			return -errno;
	}
	return 0;
}

int document_read(const char *path, json_t **out, char *error, size_t n)
{
	SCOPED(scoped_close) int fd = bpf_obj_get(path);
	SCOPED(scoped_free) char *text = NULL;
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);
	json_error_t where;
	json_t *value;
	size_t length;
	int err;

	if (fd < 0)
		return failed(error, n, errno, "cannot open %s: %s", path, strerror(errno));
	/* A link or a program has other facts in their place. */
	if (bpf_obj_get_info_by_fd(fd, &info, &size) || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.value_size != DOCUMENT_CHUNK || info.max_entries > DOCUMENT_MAX / DOCUMENT_CHUNK)
		return failed(error, n, EINVAL, "%s is not a document of mplex-run's", path);
	length = (size_t)info.max_entries * DOCUMENT_CHUNK;
	text = malloc(length + 1);
	if (!text)
		return failed(error, n, ENOMEM, "cannot read %s: out of memory", path);
	err = read_text(fd, info.max_entries, text);
	if (err)
		return failed(error, n, -err, "cannot read %s: %s", path, strerror(-err));
	text[length] = '\0';
	value = json_loads(text, 0, &where);
	if (!value)
		return failed(error, n, EINVAL, "%s is not a document of mplex-run's: %s", path,
			      where.text);
	*out = value;
	return 0;
}
