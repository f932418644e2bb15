/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Measures what XDP programs cost per packet, side by side.
 *
 * Each object given is linked with a driver (drive.bpf.c), which calls its mplex_xdp, a global
 * function, and run by BPF_PROG_TEST_RUN. Rounds are interleaved, so that a machine that slows down
 * does so for all; and everything is loaded anew several times, because where the kernel happens to
 * put a program's code moves its time by a nanosecond or two. Prints one line per measurement, for
 * run.py to make sense of:
 *
 *	NAME RELOAD ROUND NANOSECONDS
 *
 * with --frames the last packet as the program left it:
 *
 *	NAME > HEX
 *
 * and per program one line on what it is and did:
 *
 *	NAME = INSNS JITED_BYTES RESULT:COUNT…
 *
 * With --live the packets are real ones: what the program passes goes up the network stack of the
 * namespace, as received by that interface (drive_live.bpf.c; Linux 5.18). The time is that of the
 * whole way, to the socket or wherever the packet ends.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	PROGRAMS_MAX = 64,
	FRAME_MAX = 2048, /* what a test run takes in one buffer */
	PACKETS = 64,	  /* per run, as in drive.bpf.c; drive_live.bpf.c takes one */
	RESULTS = 8,
	CONSTANTS_MAX = 16,
	LIVE_BATCH = 64, /* as many as a driver takes from its ring at a time */
};

#define TEMPORARY "/tmp/mplex-bench-XXXXXX"

struct settings {
	const char *driver;
	uint32_t tag_offset, tag_length, tag_count, miss_share, skewed, restore_offset;
	uint64_t restore_value;
	uint8_t frame[FRAME_MAX];
	uint32_t frame_length;
	unsigned rounds, reloads, repeat;
	char *constants[CONSTANTS_MAX]; /* NAME=HEX */
	size_t constant_count;
	char *fill;    /* MAP=FILE */
	uint32_t live; /* an interface's index; 0: the packets go nowhere */
	bool frames;
};

struct program {
	const char *name, *path;
	struct bpf_object *object;
	int fd;
};

static int fail(const char *what, const char *name, int error)
{
	fprintf(stderr, "bench_run: %s %s: %s\n", what, name, strerror(-error));
	return error;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return level == LIBBPF_WARN && getenv("BENCH_VERBOSE") ? vfprintf(stderr, format, arguments)
							       : 0;
}

/* Where a variable is: its map, and its offset in the map's value; NULL: there is none. */
static struct bpf_map *find_variable(struct bpf_object *object, const char *map_suffix,
				     const char *name, uint32_t *offset)
{
	const struct btf *btf = bpf_object__btf(object);
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		const struct btf_type *section;
		const struct btf_var_secinfo *info;

		if (!strstr(bpf_map__name(map), map_suffix))
			continue;
		section = btf__type_by_id(btf, bpf_map__btf_value_type_id(map));
		info = btf_var_secinfos(section);
		for (int at = 0; at < btf_vlen(section); at++, info++) {
			const struct btf_type *type = btf__type_by_id(btf, info->type);

			if (!strcmp(btf__name_by_offset(btf, type->name_off), name)) {
				*offset = info->offset;
				return map;
			}
		}
	}
	return NULL;
}

/* Sets a const volatile variable, before the load. */
static int set(struct bpf_object *object, const char *name, const void *value, size_t size)
{
	size_t map_size;
	uint32_t offset;
	struct bpf_map *map = find_variable(object, ".rodata", name, &offset);

	if (!map)
		return -ENOENT;
	memcpy((char *)bpf_map__initial_value(map, &map_size) + offset, value, size);
	return 0;
}

static int read_hex(const char *hex, uint8_t *bytes, size_t size)
{
	size_t length = strlen(hex) / 2;

	if (strlen(hex) % 2 || length > size)
		return -EINVAL;
	for (size_t at = 0; at < length; at++)
		if (sscanf(hex + 2 * at, "%2hhx", &bytes[at]) != 1)
			return -EINVAL;
	return length;
}

/* Sets what --set says, where the program has it. */
static int set_constants(const struct settings *settings, struct bpf_object *object)
{
	for (size_t at = 0; at < settings->constant_count; at++) {
		char *value = strchr(settings->constants[at], '=');
		uint8_t bytes[256];
		char name[64];
		int length;

		if (!value || value - settings->constants[at] >= (int)sizeof(name))
			return fail("cannot read", settings->constants[at], -EINVAL);
		length = read_hex(value + 1, bytes, sizeof(bytes));
		if (length < 0)
			return fail("cannot read", settings->constants[at], length);
		memcpy(name, settings->constants[at], value - settings->constants[at]);
		name[value - settings->constants[at]] = '\0';
		set(object, name, bytes, length);
	}
	return 0;
}

static int set_driver(const struct settings *settings, struct bpf_object *object)
{
	const struct {
		const char *name;
		const void *value;
		size_t size;
	} variables[] = {
		{"tag_offset", &settings->tag_offset, 4},
		{"tag_length", &settings->tag_length, 4},
		{"tag_count", &settings->tag_count, 4},
		{"miss_share", &settings->miss_share, 4},
		{"skewed", &settings->skewed, 4},
		{"restore_offset", &settings->restore_offset, 4},
		{"restore_value", &settings->restore_value, 8},
	};

	for (size_t at = 0; at < sizeof(variables) / sizeof(*variables); at++)
		if (set(object, variables[at].name, variables[at].value, variables[at].size))
			return fail("the driver lacks", variables[at].name, -ENOENT);
	return 0;
}

/* The object and the driver in one file, whose name is put into linked. */
static int link_objects(const struct settings *settings, const char *path,
			char linked[static sizeof(TEMPORARY)])
{
	struct bpf_linker *linker;
	int error, fd;

	strcpy(linked, TEMPORARY);
	fd = mkstemp(linked);
	if (fd < 0)
		return fail("cannot make", linked, -errno);
	close(fd);
	linker = bpf_linker__new(linked, NULL);
	if (!linker)
		return fail("cannot link into", linked, -errno);
	error = bpf_linker__add_file(linker, settings->driver, NULL);
	if (!error)
		error = bpf_linker__add_file(linker, path, NULL);
	if (!error)
		error = bpf_linker__finalize(linker);
	bpf_linker__free(linker);
	return error ? fail("cannot link", path, error) : 0;
}

/* Puts the rows of --fill, key and value after key and value, into the map where there is one. */
static int fill(const struct settings *settings, const struct program *program)
{
	char name[64], row[256];
	const char *path = settings->fill ? strchr(settings->fill, '=') : NULL;
	struct bpf_map *map;
	size_t key, size;
	FILE *rows;
	int error = 0;

	if (!path || path - settings->fill >= (int)sizeof(name))
		return settings->fill ? fail("cannot read", settings->fill, -EINVAL) : 0;
	memcpy(name, settings->fill, path - settings->fill);
	name[path - settings->fill] = '\0';
	map = bpf_object__find_map_by_name(program->object, name);
	if (!map)
		return 0;
	key = bpf_map__key_size(map);
	size = key + bpf_map__value_size(map);
	rows = size <= sizeof(row) ? fopen(path + 1, "rb") : NULL;
	if (!rows)
		return fail("cannot open", path + 1, -errno);
	while (!error && fread(row, size, 1, rows) == 1)
		error = bpf_map__update_elem(map, row, key, row + key, size - key, 0);
	fclose(rows);
	return error ? fail("cannot fill", name, error) : 0;
}

static int load(const struct settings *settings, struct program *program)
{
	char linked[sizeof(TEMPORARY)];
	struct bpf_program *each;
	int error = link_objects(settings, program->path, linked);

	if (!error)
		program->object = bpf_object__open_file(linked, NULL);
	unlink(linked);
	if (error)
		return error;
	if (!program->object)
		return fail("cannot open the linked", program->path, -errno);
	bpf_object__for_each_program(each, program->object)
		bpf_program__set_autoload(each, !strcmp(bpf_program__name(each), "drive"));
	error = set_driver(settings, program->object);
	if (!error)
		error = set_constants(settings, program->object);
	if (error)
		return error;
	error = bpf_object__load(program->object);
	if (error)
		return fail("cannot load", program->path, error);
	program->fd = bpf_program__fd(bpf_object__find_program_by_name(program->object, "drive"));
	return fill(settings, program);
}

static void unload(struct program *program)
{
	bpf_object__close(program->object);
	program->object = NULL;
}

/*
 * Nanoseconds per packet. Every test run begins with cold caches, because the kernel waits for
 * other CPUs before it: half a millisecond's worth, so that the runs have to be long.
 */
static int run(const struct settings *settings, const struct program *program, double *nanoseconds)
{
	uint8_t out[FRAME_MAX + 256];
	struct xdp_md context = {.data_end = settings->frame_length,
				 .ingress_ifindex = settings->live};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = settings->frame,
		    .data_size_in = settings->frame_length, .repeat = settings->repeat);

	if (settings->live) {
		options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
		options.batch_size = LIVE_BATCH;
		options.ctx_in = &context;
		options.ctx_size_in = sizeof(context);
	} else {
		options.data_out = out;
		options.data_size_out = sizeof(out);
	}
	if (bpf_prog_test_run_opts(program->fd, &options))
		return fail("cannot run", program->name, -errno);
	*nanoseconds = (double)options.duration / (settings->live ? 1 : PACKETS);
	if (settings->frames && !settings->live) {
		printf("%s > ", program->name);
		for (uint32_t at = 0; at < options.data_size_out; at++)
			printf("%02x", out[at]);
		putchar('\n');
	}
	return 0;
}

static int describe(const struct program *program)
{
	uint64_t results[RESULTS];
	uint32_t lengths[64] = {0};
	struct bpf_prog_info info = {.nr_jited_func_lens = 64,
				     .jited_func_lens = (uintptr_t)lengths};
	uint32_t info_length = sizeof(info), jited = 0, zero = 0, offset;
	char value[4096]; /* .bss */
	struct bpf_map *map;

	if (bpf_obj_get_info_by_fd(program->fd, &info, &info_length))
		return fail("cannot query", program->name, -errno);
	/* The first function is the driver. */
	for (uint32_t at = 1; at < info.nr_jited_func_lens && at < 64; at++)
		jited += lengths[at];
	map = find_variable(program->object, ".bss", "results", &offset);
	if (!map)
		return fail("the driver lacks", "results", -ENOENT);
	if (bpf_map__value_size(map) > sizeof(value))
		return fail("cannot hold the results of", program->name, -E2BIG);
	if (bpf_map_lookup_elem(bpf_map__fd(map), &zero, value))
		return fail("cannot read the results of", program->name, -errno);
	memcpy(results, value + offset, sizeof(results));
	printf("%s = %u %u", program->name, info.xlated_prog_len / 8, jited);
	for (unsigned at = 0; at < RESULTS; at++)
		if (results[at])
			printf(" %u:%llu", at, (unsigned long long)results[at]);
	putchar('\n');
	return 0;
}

static int measure(const struct settings *settings, struct program *programs, size_t count,
		   unsigned reload)
{
	double nanoseconds = 0;
	int error = 0;

	for (size_t at = 0; at < count && !error; at++)
		error = load(settings, &programs[at]);
	for (unsigned round = 0; round < settings->rounds && !error; round++)
		for (size_t at = 0; at < count && !error; at++) {
			error = run(settings, &programs[at], &nanoseconds);
			if (!error)
				printf("%s %u %u %.3f\n", programs[at].name, reload, round,
				       nanoseconds);
		}
	for (size_t at = 0; at < count; at++) {
		if (!error && reload == 0)
			error = describe(&programs[at]);
		unload(&programs[at]);
	}
	return error;
}

/* Stays on this CPU, whose caches are warm. */
static int stay(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? fail("cannot stay on", "a CPU", -errno)
						       : 0;
}

static const char usage[] =
	"usage: bench_run --driver OBJECT --frame HEX [--tag-offset N --tag-length N --tag-count N]\n"
	"       [--miss-share OF_2^32] [--skewed] [--restore-offset N] [--rounds N] [--reloads N]\n"
	"       [--repeat RUNS] [--set CONSTANT=HEX]… [--fill MAP=FILE] [--frames]\n"
	"       [--live INTERFACE_INDEX] NAME=OBJECT…\n";

int main(int argc, char **argv)
{
	enum {
		DRIVER,
		FRAME,
		OFFSET,
		LENGTH,
		COUNT,
		MISS,
		SKEWED,
		RESTORE,
		ROUNDS,
		RELOADS,
		REPEAT,
		SET,
		FILL,
		FRAMES,
		LIVE,
	};
	static const struct option options[] = {
		{"driver", required_argument, NULL, DRIVER},
		{"frame", required_argument, NULL, FRAME},
		{"tag-offset", required_argument, NULL, OFFSET},
		{"tag-length", required_argument, NULL, LENGTH},
		{"tag-count", required_argument, NULL, COUNT},
		{"miss-share", required_argument, NULL, MISS},
		{"skewed", no_argument, NULL, SKEWED},
		{"restore-offset", required_argument, NULL, RESTORE},
		{"rounds", required_argument, NULL, ROUNDS},
		{"reloads", required_argument, NULL, RELOADS},
		{"repeat", required_argument, NULL, REPEAT},
		{"set", required_argument, NULL, SET},
		{"fill", required_argument, NULL, FILL},
		{"frames", no_argument, NULL, FRAMES},
		{"live", required_argument, NULL, LIVE},
		{0},
	};
	struct settings settings = {.rounds = 5, .reloads = 3, .repeat = 30000, .tag_count = 1};
	struct program programs[PROGRAMS_MAX] = {0};
	size_t count = 0;
	int option, length;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint32_t number = optarg ? strtoul(optarg, NULL, 0) : 0;

		switch (option) {
		case DRIVER:
			settings.driver = optarg;
			break;
		case FRAME:
			length = read_hex(optarg, settings.frame, sizeof(settings.frame));
			if (length < 0) {
				fputs("bench_run: the frame is not hex, or too long\n", stderr);
				return 2;
			}
			settings.frame_length = length;
			break;
		case OFFSET:
			settings.tag_offset = number;
			break;
		case LENGTH:
			settings.tag_length = number;
			break;
		case COUNT:
			settings.tag_count = number;
			break;
		case MISS:
			settings.miss_share = number;
			break;
		case SKEWED:
			settings.skewed = 1;
			break;
		case RESTORE:
			settings.restore_offset = number;
			break;
		case ROUNDS:
			settings.rounds = number;
			break;
		case RELOADS:
			settings.reloads = number;
			break;
		case REPEAT:
			settings.repeat = number;
			break;
		case SET:
			if (settings.constant_count == CONSTANTS_MAX) {
				fputs(usage, stderr);
				return 2;
			}
			settings.constants[settings.constant_count++] = optarg;
			break;
		case FILL:
			settings.fill = optarg;
			break;
		case FRAMES:
			settings.frames = true;
			break;
		case LIVE:
			settings.live = number;
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	for (; optind < argc && count < PROGRAMS_MAX; optind++, count++) {
		char *path = strchr(argv[optind], '=');

		if (!path) {
			fputs(usage, stderr);
			return 2;
		}
		*path++ = '\0';
		programs[count] = (struct program){.name = argv[optind], .path = path};
	}
	if (!settings.driver || !settings.frame_length || !count || optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	if (settings.restore_offset && settings.restore_offset + 8 <= settings.frame_length)
		memcpy(&settings.restore_value, settings.frame + settings.restore_offset, 8);
	libbpf_set_print(quiet);
	if (stay())
		return 1;
	for (unsigned reload = 0; reload < settings.reloads; reload++)
		if (measure(&settings, programs, count, reload))
			return 1;
	return 0;
}
