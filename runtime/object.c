/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An object on its way from the file to the kernel: open, set constants, load.
 *
 * libbpf does the work. What it has to say while it tries features of the kernel is noise unless
 * the load fails in the end, so it is kept back until then.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include "error.h"
#include "kernel.h"
#include "layout.h"
#include "object.h"
#include "scope.h"

enum {
	OPEN_SECONDS = 10, /* libbpf may take at most, of a processor that it has to itself */
};

/* The last of what libbpf said. */
static char log_text[64 << 10];
static size_t log_length;

static int keep_log(enum libbpf_print_level level, const char *format, va_list arguments)
{
	const size_t room = sizeof(log_text) - 1;
	SCOPED(scoped_free) char *said = NULL;
	int length;
	size_t added, kept;

	if (level == LIBBPF_DEBUG)
		return 0;
	length = vasprintf(&said, format, arguments);
	if (length < 0) {
		said = NULL; /* undefined then */
		return 0;
	}
	/* The end is what matters, of what is new (a verifier's log can be long) as of the old. */
	added = (size_t)length < room ? (size_t)length : room;
	kept = log_length < room - added ? log_length : room - added;
	memmove(log_text, log_text + log_length - kept, kept);
	memcpy(log_text + kept, said + length - added, added);
	log_length = kept + added;
	log_text[log_length] = '\0';
	/* Names come from the object as they are: whatever they hold, they act on no terminal. */
	for (char *c = log_text + kept; *c; c++)
		if ((*c < ' ' || *c > '~') && *c != '\n' && *c != '\t')
			*c = '?';
	return length;
}

/* The last lines of the log, in place. */
static const char *log_tail(int lines)
{
	char *start;

	while (log_length && log_text[log_length - 1] == '\n')
		log_text[--log_length] = '\0';
	for (start = log_text + log_length; start > log_text; start--) {
		if (start[-1] == '\n' && !--lines)
			break;
	}
	return start;
}

/*
 * libbpf's own handler of "xdp.frags" sets the flag whatever the program's flags say, so that it
 * could not be cleared. This one leaves it to object_load.
 */
static void register_xdp_section(void)
{
	static int handler;

	if (!handler)
		handler =
			libbpf_register_prog_handler("xdp.frags", BPF_PROG_TYPE_XDP, BPF_XDP, NULL);
}

static int not_ours(const struct object *object, const char *why, char *error, size_t n)
{
	return failed(error, n, EINVAL,
		      "%s was not made by mplexc: %s; compile a rule file with mplexc and the "
		      "result with clang",
		      object->path, why);
}

static int malformed(const struct object *object, const char *what, char *error, size_t n)
{
	return failed(error, n, EINVAL, "%s is malformed: %s; make it again with mplexc and clang",
		      object->path, what);
}

static int out_of_memory(const struct object *object, char *error, size_t n)
{
	return failed(error, n, ENOMEM, "cannot open %s: out of memory", object->path);
}

static int read_manifest(struct object *object, char *error, size_t n)
{
	char why[512];
	struct bytes section;
	int err;

	err = section_find(&object->file, ".mplex", &section, why, sizeof(why));
	if (err == -ENOENT)
		return not_ours(object, "it has no manifest", error, n);
	if (err == -ENOMEM)
		return out_of_memory(object, error, n);
	if (err)
		return failed(error, n, EINVAL,
			      "%s cannot be loaded: %s; make it with mplexc and clang",
			      object->path, why);
	err = manifest_parse(section.data, section.size, &object->manifest, why, sizeof(why));
	if (err == -ENOTSUP)
		return failed(error, n, ENOTSUP, "%s is too new: %s", object->path, why);
	if (err == -ENOMEM)
		return out_of_memory(object, error, n);
	return err ? malformed(object, why, error, n) : 0;
}

static struct bpf_program *find_program(const struct object *object, const char *name,
					enum bpf_prog_type type)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object->bpf, name);

	return program && bpf_program__type(program) == type ? program : NULL;
}

/* A per-CPU array of what has members packets and bytes, or NULL. */
static struct bpf_map *find_counters(const struct object *object, const char *name)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object->bpf, name);

	if (!map || bpf_map__type(map) != BPF_MAP_TYPE_PERCPU_ARRAY ||
	    bpf_map__key_size(map) != sizeof(__u32))
		return NULL;
	return map;
}

static int find_parts(struct object *object, char *error, size_t n)
{
	char why[512];
	int err;

	object->xdp = find_program(object, "mplex_xdp", BPF_PROG_TYPE_XDP);
	object->ingress = find_program(object, "mplex_ingress", BPF_PROG_TYPE_SCHED_CLS);
	object->egress = find_program(object, "mplex_egress", BPF_PROG_TYPE_SCHED_CLS);
	object->counters = find_counters(object, "counters");
	object->ingress_counters = find_counters(object, "ingress_counters");
	if (!object->xdp)
		return malformed(object, "it has no XDP program mplex_xdp", error, n);
	if (!object->counters)
		return malformed(object, "it has no map counters", error, n);
	err = manifest_check_counters(
		&object->manifest, bpf_map__max_entries(object->counters),
		object->ingress_counters ? bpf_map__max_entries(object->ingress_counters) : 0, why,
		sizeof(why));
	return err ? malformed(object, why, error, n) : 0;
}

static struct bpf_object *open_with_libbpf(const struct object *object)
{
	/* The name of the file is no part of the names that the kernel shows. */
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "mplex");

	return bpf_object__open_mem(object->file.data, object->file.size, &options);
}

/*
 * libbpf trusts what it opens, and a damaged file can crash it. So a process of its own opens it
 * first, and ends with status 0 when it survives that, whether or not the object could be opened.
 */
static int rehearse_open(const struct object *object, char *error, size_t n)
{
	const struct rlimit no_core = {0};
	pid_t child = fork();
	int status;

	if (!child) {
		setrlimit(RLIMIT_CORE, &no_core);
		alarm(OPEN_SECONDS);
		open_with_libbpf(object);
		_exit(0);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			child = -1;
	if (child < 0)
		return failed(error, n, errno, "cannot open %s: %s", object->path, strerror(errno));
	return status ? malformed(object, "it makes libbpf crash", error, n) : 0;
}

static int cannot_open(const struct object *object, int code, char *error, size_t n)
{
	char why[128];

	if (code == ENOMEM)
		return out_of_memory(object, error, n);
	libbpf_strerror(code, why, sizeof(why));
	return failed(error, n, EINVAL,
		      "%s is malformed: libbpf cannot open it: %s; make it again with mplexc and "
		      "clang\n%s",
		      object->path, why, log_tail(3));
}

/* Everything behind the reading of the file, which then belongs to the object, or is freed. */
static int open_file(const char *path, struct bytes file, struct object *out, char *error, size_t n)
{
	SCOPED(object_close) struct object object = {.path = path, .file = file};
	int err;

	libbpf_set_print(keep_log);
	register_xdp_section();
	err = read_manifest(&object, error, n);
	if (!err)
		err = rehearse_open(&object, error, n);
	if (err)
		return err;
	object.bpf = open_with_libbpf(&object);
	if (!object.bpf)
		return cannot_open(&object, errno, error, n);
	err = find_parts(&object, error, n);
	if (err)
		return err;
	*out = object;
	memset(&object, 0, sizeof(object));
	return 0;
}

int object_open(const char *path, struct object *out, char *error, size_t n)
{
	struct bytes file;
	int err = file_read(path, &file, error, n);

	return err ? err : open_file(path, file, out, error, n);
}

int object_reopen(const struct object *object, struct object *out, char *error, size_t n)
{
	struct bytes file = {.data = malloc(object->file.size), .size = object->file.size};

	if (!file.data)
		return failed(error, n, ENOMEM, "cannot open %s again: out of memory",
			      object->path);
	memcpy(file.data, object->file.data, file.size);
	return open_file(object->path, file, out, error, n);
}

void object_close(struct object *object)
{
	bpf_object__close(object->bpf);
	manifest_free(&object->manifest);
	free(object->file.data);
	memset(object, 0, sizeof(*object));
}

/* The memory of a constant before the load, or NULL. */
static char *constant(const struct object *object, const char *name, size_t *size)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object->bpf, ".rodata");
	struct extent extent;
	char *memory;
	size_t all;

	if (!map || layout_variable(bpf_object__btf(object->bpf), ".rodata", name, &extent))
		return NULL;
	memory = (char *)bpf_map__initial_value(map, &all);
	if (!memory || extent.offset > all || extent.size > all - extent.offset)
		return NULL;
	*size = extent.size;
	return memory + extent.offset;
}

size_t object_constant_size(const struct object *object, const char *name)
{
	size_t size;

	return constant(object, name, &size) ? size : 0;
}

int object_set_constant(struct object *object, const char *name, const void *value, size_t size)
{
	size_t room;
	char *memory = constant(object, name, &room);

	if (!memory)
		return -ENOENT;
	if (size > room)
		return -EINVAL;
	memcpy(memory, value, size);
	memset(memory + size, 0, room - size);
	return 0;
}

int object_load(struct object *object, bool frags, bool only_xdp, char *error, size_t n)
{
	__u32 flags = bpf_program__flags(object->xdp) & ~BPF_F_XDP_HAS_FRAGS;
	uint8_t linear;
	int err;

	frags = frags && kernel_has_frags();
	linear = !frags;
	object_set_constant(object, "mplex_linear", &linear, sizeof(linear));
	bpf_program__set_flags(object->xdp, flags | (frags ? BPF_F_XDP_HAS_FRAGS : 0));
	if (object->ingress)
		bpf_program__set_autoload(object->ingress, !only_xdp);
	if (object->egress)
		bpf_program__set_autoload(object->egress, !only_xdp);

	log_length = 0;
	/* libbpf raises RLIMIT_MEMLOCK itself on kernels that still account maps to it. */
	err = bpf_object__load(object->bpf);
	if (err == -EPERM)
		return failed(error, n, EPERM,
			      "the kernel does not let this process load BPF programs; run "
			      "mplex-run as root, outside of user namespaces\n%s",
			      log_tail(3));
	if (err)
		return failed(error, n, -err,
			      "the kernel refuses the programs of %s: %s; the end of its log "
			      "follows\n%s",
			      object->path, strerror(-err), log_tail(12));
	return 0;
}
