/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds and reads what is pinned. Whoever changes it (state.c) works beside us, so what was there a
 * moment ago may be gone.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "document.h"
#include "error.h"
#include "generation.h"
#include "lock.h"
#include "namespace.h"
#include "pinned.h"
#include "report.h"
#include "scope.h"
#include "totals.h"

#define BPF_FILE_SYSTEM "/sys/fs/bpf"

/* Newer than the headers that this may be compiled with. */
enum {
	CONFIGURE_CREATE = 6, /* FSCONFIG_CMD_CREATE, Linux 5.2 */
	CLOSE_ON_EXEC = 1,    /* FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC */
	PATH_SIZE = 256,
	READ_TRIES = 5, /* while generations come and go */
};

static char root[64] = BPF_FILE_SYSTEM "/mplex";

static void scoped_closedir(DIR **entries)
{
	if (*entries)
		closedir(*entries);
}

static void scoped_json(json_t **value)
{
	json_decref(*value);
}

const char *pinned_private(void)
{
	static char path[48];
	int configuration, mount = -1;

	if (*path)
		return path;
	configuration = syscall(SYS_fsopen, "bpf", CLOSE_ON_EXEC);
	if (configuration >= 0 &&
	    !syscall(SYS_fsconfig, configuration, CONFIGURE_CREATE, NULL, NULL, 0))
		mount = syscall(SYS_fsmount, configuration, CLOSE_ON_EXEC, 0);
	if (configuration >= 0)
		close(configuration);
	if (mount < 0)
		return NULL;
	/* It stays open to the end of the process; by this path others can look into it. */
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), mount);
	return path;
}

/* For lack of a BPF file system that all can see. */
static int use_private(char *error, size_t n)
{
	const char *path = pinned_private();

	if (!path)
		return failed(error, n, ENOTSUP,
			      "no BPF file system is mounted at %s and none can be made: %s; run "
			      "\"mount -t bpf bpf %s\"",
			      BPF_FILE_SYSTEM, strerror(errno), BPF_FILE_SYSTEM);
	snprintf(root, sizeof(root), "%s/mplex", path);
	if (mkdir(root, 0700) && errno != EEXIST)
		return failed(error, n, errno, "cannot make %s: %s", root, strerror(errno));
	return failed(
		error, n, ENOENT,
		"no BPF file system is mounted at %s, so other commands of mplex-run will not "
		"see this one",
		BPF_FILE_SYSTEM);
}

int pinned_prepare(bool private, char *error, size_t n)
{
	struct statfs status;

	if (statfs(BPF_FILE_SYSTEM, &status) || status.f_type != BPF_FS_MAGIC)
		return private ? use_private(error, n)
			       : failed(error, n, ENOTSUP,
					"no BPF file system is mounted at %s: run \"mount -t bpf "
					"bpf %s\"; \"ip netns exec\" hides it, \"nsenter "
					"--net=/run/netns/NAME\" does not",
					BPF_FILE_SYSTEM, BPF_FILE_SYSTEM);
	if (status.f_flags & ST_RDONLY)
		return failed(error, n, EROFS,
			      "the BPF file system at %s is mounted read-only, so nothing can be "
			      "pinned there: run \"mount -o remount,rw %s\"",
			      BPF_FILE_SYSTEM, BPF_FILE_SYSTEM);
	if (mkdir(root, 0700) && errno != EEXIST)
		return failed(error, n, errno, "cannot make %s: %s", root, strerror(errno));
	return 0;
}

int pinned_netns(uint64_t *out, char *error, size_t n)
{
	SCOPED(scoped_close) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = fd < 0 ? 0 : namespace_cookie(fd);
	struct stat status;

	if (cookie) {
		*out = cookie;
		return 0;
	}
	if (stat("/proc/thread-self/ns/net", &status))
		return failed(error, n, errno, "cannot tell the network namespace: %s",
			      strerror(errno));
	*out = status.st_ino;
	return 0;
}

static void set_path(struct place *place)
{
	snprintf(place->path, sizeof(place->path), "%s/%" PRIu64 "-%u", root, place->netns,
		 place->ifindex);
}

static int compare_places(const void *a, const void *b)
{
	const struct place *one = a, *other = b;

	if (one->netns != other->netns)
		return one->netns < other->netns ? -1 : 1;
	return one->ifindex < other->ifindex ? -1 : one->ifindex > other->ifindex;
}

int pinned_list(struct place **out, size_t *count, char *error, size_t n)
{
	SCOPED(scoped_closedir) DIR *entries = opendir(root);
	SCOPED(scoped_free) struct place *list = NULL;
	const struct dirent *entry;
	size_t length = 0;

	if (!entries && errno != ENOENT)
		return failed(error, n, errno, "cannot read %s: %s", root, strerror(errno));
	while (entries && (entry = readdir(entries))) {
		struct place place, *grown;
		int end;

		if (sscanf(entry->d_name, "%" SCNu64 "-%u%n", &place.netns, &place.ifindex, &end) !=
			    2 ||
		    entry->d_name[end])
			continue;
		grown = reallocarray(list, length + 1, sizeof(*list));
		if (!grown)
			return failed(error, n, ENOMEM, "cannot read %s: out of memory", root);
		list = grown;
		set_path(&place);
		list[length++] = place;
	}
	if (length)
		qsort(list, length, sizeof(*list), compare_places);
	*out = TAKE(list);
	*count = length;
	return 0;
}

/* Whether something at a place says that it belonged to an interface of that name. */
static bool belonged_to(const struct place *place, const char *interface)
{
	SCOPED(scoped_free) uint32_t *ids = NULL;
	int count = generation_list(place->path, &ids);
	char error[ERROR_SIZE];

	for (int i = 0; i < count; i++) {
		SCOPED(generation_close) struct generation generation = NO_GENERATION;

		if (!generation_open(place->path, ids[i], &generation, error, sizeof(error)) &&
		    !strcmp(generation.record.interface, interface))
			return true;
	}
	return false;
}

int pinned_find(const char *interface, struct place *out, char *error, size_t n)
{
	SCOPED(scoped_free) struct place *list = NULL;
	struct place place = {.ifindex = if_nametoindex(interface)};
	size_t count;
	int err = pinned_netns(&place.netns, error, n);

	if (err)
		return err;
	if (place.ifindex) {
		set_path(&place);
		*out = place;
		return 0;
	}
	err = pinned_list(&list, &count, error, n);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		if (list[i].netns == place.netns && belonged_to(&list[i], interface)) {
			*out = list[i];
			return 0;
		}
	}
	return failed(error, n, ENODEV,
		      "there is no interface %s in this network namespace, and none of that name "
		      "left pins; \"ip link\" lists those that are",
		      interface);
}

static bool exists(const struct place *place, const char *name)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/%s", place->path, name);
	return !access(path, F_OK);
}

/* The generation that a process runs in the foreground; 0: none does. */
static uint32_t foreground(const struct place *place, struct pinned *pinned)
{
	SCOPED(scoped_json) json_t *document = NULL;
	char path[PATH_SIZE], error[ERROR_SIZE];
	const char *base = "";

	snprintf(path, sizeof(path), "%s/process", place->path);
	if (document_read(path, &document, error, sizeof(error)) || !lock_is_held(place->path))
		return 0;
	json_unpack(document, "{s:s}", "generations", &base);
	snprintf(pinned->base, sizeof(pinned->base), "%s", base);
	pinned->process = json_integer_value(json_object_get(document, "process"));
	pinned->tc = json_is_true(json_object_get(document, "clsact")) ? "clsact" : "tcx";
	return json_integer_value(json_object_get(document, "program"));
}

/* The generation that the pinned XDP link runs; 0: there is none, or its interface is gone. */
static uint32_t by_itself(const struct place *place)
{
	struct attachment attachment = NO_ATTACHMENT;
	char path[PATH_SIZE];
	uint32_t id;
	int err;

	snprintf(path, sizeof(path), "%s/xdp", place->path);
	attachment.xdp = bpf_obj_get(path);
	err = attachment_program(&attachment, &id);
	attachment_close(&attachment);
	return err ? 0 : id;
}

static void read_confirm(const struct generation *generation, struct pinned *pinned)
{
	SCOPED(scoped_json) json_t *document = NULL;
	char path[PATH_SIZE], error[ERROR_SIZE];

	generation_path(generation, "confirm", path);
	if (document_read(path, &document, error, sizeof(error)))
		return;
	pinned->unconfirmed = true;
	pinned->deadline = json_integer_value(json_object_get(document, "deadline"));
}

int pinned_open(const struct place *place, struct pinned *out, char *error, size_t n)
{
	SCOPED(generation_close) struct generation generation = NO_GENERATION;
	struct pinned pinned = {.place = *place};
	uint32_t id = by_itself(place);
	int err;

	memcpy(pinned.base, place->path, sizeof(pinned.base));
	if (!id)
		id = foreground(place, &pinned);
	if (!id)
		return failed(error, n, ENOENT, "nothing is attached by the pins in %s",
			      place->path);
	err = generation_open(pinned.base, id, &generation, error, n);
	if (err)
		return err;
	read_confirm(&generation, &pinned);
	pinned.record = generation.record;
	memset(&generation.record, 0, sizeof(generation.record));
	if (!pinned.record.ingress && !pinned.record.egress)
		pinned.tc = "";
	else if (!pinned.process)
		pinned.tc = exists(place, pinned.record.ingress ? "ingress" : "egress") ? "tcx"
											: "clsact";
	*out = pinned;
	return 0;
}

void pinned_close(struct pinned *pinned)
{
	record_free(&pinned->record);
	memset(pinned, 0, sizeof(*pinned));
}

struct generation pinned_generation(const struct pinned *pinned)
{
	struct generation generation = NO_GENERATION;

	generation.id = pinned->record.xdp;
	generation.record = pinned->record;
	snprintf(generation.path, sizeof(generation.path), "%s/%u", pinned->base, generation.id);
	return generation;
}

int pinned_map(const struct pinned *pinned, const char *name)
{
	const struct generation generation = pinned_generation(pinned);

	return generation_map(&generation, name);
}

int pinned_rows(const struct pinned *pinned, struct row **out, size_t *count, char *error, size_t n)
{
	const struct generation generation = pinned_generation(pinned);
	int err = 0;

	for (int i = 0; i < READ_TRIES; i++) {
		err = totals_rows(pinned->base, &generation, out, count, error, n);
		if (err != -ENOENT)
			return err;
	}
	return failed(error, n, ESTALE, "%s has been replaced or detached just now",
		      pinned->record.object);
}
