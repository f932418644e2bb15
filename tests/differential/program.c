/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From rule file to loaded program, by the real compiler, the real clang and the runtime's own
 * loader; and the maps of it, by the layouts in the object's BTF.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include "../../compiler/clang.h"
#include "../../compiler/diagnostic.h"
#include "../../compiler/emit.h"
#include "../../runtime/error.h"
#include "program.h"

enum {
	KEY_SIZE = 36, /* of a struct bpf_sock_tuple */
	VALUE_MAX = 256,
	CPUS_MAX = 1024,
	ENTRIES = 1024, /* of the maps that remember: they are walked after every frame */
};

/* ---- Making ---- */

static void close_memory(FILE **file)
{
	if (*file)
		fclose(*file);
}

static int emit_text(const struct plan *plan, char **code, size_t *size)
{
	__attribute__((cleanup(close_memory))) FILE *out = open_memstream(code, size);

	return out ? emit(plan, out) : -ENOMEM;
}

static int compile(const struct rules *rules, const struct plan_options *options,
		   struct diagnostics *diagnostics, void **object, size_t *object_size)
{
	struct plan plan = {0};
	char *code = NULL;
	size_t size;
	int err = plan_make(rules, options, diagnostics, &plan);

	if (err)
		return err;
	err = emit_text(&plan, &code, &size);
	if (!err)
		err = clang_compile(code, size, diagnostics, object, object_size);
	free(code);
	plan_free(&plan);
	return err;
}

/* A constant where there is one; its size is that of docs/object.md. */
static void set(struct object *object, const char *name, const void *value, size_t size, int *err)
{
	size_t room = object_constant_size(object, name);

	if (room == size)
		object_set_constant(object, name, value, size);
	else if (room)
		*err = -EINVAL;
}

static int set_constants(struct object *object, const struct host *host)
{
	uint8_t local_known = host->local_known, sack = host->sack, ecn = host->ecn;
	uint8_t timestamps = host->timestamps, redirect = host->redirect, observe = host->observe;
	int err = 0;

	set(object, "mplex_mac", host->mac, sizeof(host->mac), &err);
	set(object, "mplex_local_known", &local_known, 1, &err);
	set(object, "mplex_local_v4_count", &host->local_v4_count, 4, &err);
	set(object, "mplex_local_v4", host->local_v4, sizeof(host->local_v4), &err);
	set(object, "mplex_local_v6_count", &host->local_v6_count, 4, &err);
	set(object, "mplex_local_v6", host->local_v6, sizeof(host->local_v6), &err);
	set(object, "mplex_key", host->key, sizeof(host->key), &err);
	set(object, "mplex_mss_v4", &host->mss_v4, 2, &err);
	set(object, "mplex_mss_v6", &host->mss_v6, 2, &err);
	set(object, "mplex_window", &host->window, 2, &err);
	set(object, "mplex_window_scale", &host->window_scale, 1, &err);
	set(object, "mplex_sack", &sack, 1, &err);
	set(object, "mplex_timestamps", &timestamps, 1, &err);
	set(object, "mplex_ecn", &ecn, 1, &err);
	set(object, "mplex_ttl", &host->ttl, 1, &err);
	set(object, "mplex_hop_limit", &host->hop_limit, 1, &err);
	set(object, "mplex_redirect", &redirect, 1, &err);
	set(object, "mplex_observe", &observe, 1, &err);
	return err;
}

static void set_size(struct object *object, const char *name)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object->bpf, name);

	if (map)
		bpf_map__set_max_entries(map, ENTRIES);
}

static int write_object(const void *object, size_t size, char *path)
{
	int fd = mkstemp(path);
	ssize_t written;

	if (fd < 0)
		return -errno;
	written = write(fd, object, size);
	close(fd);
	return written == (ssize_t)size ? 0 : -EIO;
}

static int load(const void *bytes, size_t size, const struct host *host, FILE *out,
		struct object *object)
{
	char path[] = "/tmp/mplex-differential-XXXXXX", error[ERROR_SIZE] = "";
	int err = write_object(bytes, size, path);

	if (!err) {
		err = object_open(path, object, error, sizeof(error));
		unlink(path);
	}
	if (err) {
		fprintf(out, "cannot open the object: %s\n", error);
		return err;
	}
	err = set_constants(object, host);
	if (err) {
		fprintf(out, "a constant has another size than in docs/object.md\n");
		object_close(object);
		return err;
	}
	set_size(object, "pending");
	set_size(object, "flows");
	err = object_load(object, !host->linear, false, error, sizeof(error));
	if (err) {
		fprintf(out, "cannot load the object: %s\n", error);
		object_close(object);
	}
	return err;
}

/* An array of one such value, or -1. */
static int find_array(const struct object *object, const char *name, size_t value_size)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object->bpf, name);

	return map && bpf_map__value_size(map) == value_size && bpf_map__max_entries(map) == 1
		       ? bpf_map__fd(map)
		       : -1;
}

/* A map of this name, and the BTF type of its values. */
static int find_map(const struct object *object, const char *name, size_t key_size,
		    uint32_t *value_type)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object->bpf, name);

	if (!map)
		return -ENOENT;
	if (bpf_map__key_size(map) != key_size || bpf_map__value_size(map) > VALUE_MAX)
		return -EINVAL;
	*value_type = bpf_map__btf_value_type_id(map);
	return bpf_map__fd(map);
}

static int find_pending(struct program *program)
{
	const struct btf *btf = bpf_object__btf(program->object.bpf);
	uint32_t type;
	int map = find_map(&program->object, "pending", KEY_SIZE, &type), err = 0;

	program->pending = map == -ENOENT ? -1 : map;
	if (map < 0)
		return map == -ENOENT ? 0 : map;
#define MEMBER(name) err = err ?: layout_member(btf, type, #name, &program->pending_layout.name)
	MEMBER(bound_at);
	MEMBER(isn);
	MEMBER(port);
	MEMBER(mss);
	MEMBER(listener);
	MEMBER(client_scale);
	MEMBER(server_scale);
	MEMBER(scaling);
	MEMBER(sack);
	MEMBER(timestamps);
	MEMBER(ecn);
	MEMBER(tsval);
	MEMBER(tsecr);
	MEMBER(delivered);
	MEMBER(kept);
	MEMBER(drops);
#undef MEMBER
	return err;
}

/* -1 where there is no such program, or this kernel cannot load it. */
static int find_tc(const struct bpf_program *program)
{
	int fd = program ? bpf_program__fd(program) : -1;

	return fd < 0 ? -1 : fd;
}

static int find_maps(struct program *program)
{
	const struct btf *btf = bpf_object__btf(program->object.bpf);
	uint32_t type;
	int err = find_pending(program);

	if (err)
		return err;
	program->flows = find_map(&program->object, "flows", KEY_SIZE + 4, &type);
	if (program->flows == -ENOENT)
		program->flows = -1;
	else if (program->flows < 0)
		return program->flows;
	else
		err = layout_member(btf, type, "port", &program->flow_port);
	program->recent_flows = find_map(&program->object, "recent_flows", 4, &type);
	if (program->recent_flows == -ENOENT)
		program->recent_flows = -1;
	else if (program->recent_flows < 0)
		return program->recent_flows;
	else
		err = err ?: layout_member(btf, type, "ports", &program->recent_ports)
			  ?: layout_member(btf, type, "addresses", &program->recent_addresses);
	program->bound_ports =
		find_array(&program->object, "bound_ports", sizeof(program->expected_ports->bound));
	program->reply_ports = find_array(&program->object, "reply_ports", sizeof(struct replies));
	if (program->reply_ports >= 0) {
		void *mapped = mmap(NULL, sizeof(struct replies), PROT_READ | PROT_WRITE,
				    MAP_SHARED, program->reply_ports, 0);

		if (mapped == MAP_FAILED)
			return -errno;
		program->replies = mapped;
	}
	program->expected_ports = calloc(1, sizeof(*program->expected_ports));
	program->xdp = bpf_program__fd(program->object.xdp);
	program->ingress = find_tc(program->object.ingress);
	program->egress = find_tc(program->object.egress);
	program->ingress_counters = program->object.ingress_counters
					    ? bpf_map__fd(program->object.ingress_counters)
					    : -1;
	program->counters = bpf_map__fd(program->object.counters);
	program->counter_count = bpf_map__max_entries(program->object.counters);
	program->expected = calloc(program->counter_count, sizeof(*program->expected));
	return program->expected && program->expected_ports ? err : -ENOMEM;
}

static uint32_t verified_instructions(int program)
{
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	return program < 0 || bpf_obj_get_info_by_fd(program, &info, &size) ? 0
									    : info.verified_insns;
}

int program_make(const char *text, size_t size, const struct plan_options *options,
		 const struct host *host, FILE *out, struct program *program)
{
	struct diagnostics diagnostics = {0};
	struct program made = {.pending = -1, .flows = -1, .recent_flows = -1};
	void *object = NULL;
	size_t object_size;
	int err = source_from_bytes("random.yaml", text, size, &made.source);

	if (!err)
		err = rules_read(&made.source, &diagnostics, &made.rules);
	if (!err)
		err = compile(&made.rules, options, &diagnostics, &object, &object_size);
	if (diagnostics.error_count)
		diagnostics_print(&diagnostics, &made.source, DIAGNOSTICS_TEXT, out);
	diagnostics_free(&diagnostics);
	if (!err)
		err = load(object, object_size, host, out, &made.object);
	free(object);
	if (!err) {
		err = find_maps(&made);
		if (err)
			fprintf(out, "the maps are not those of docs/object.md\n");
	}
	if (err) {
		program_free(&made);
		return err;
	}
	made.instructions = verified_instructions(made.xdp);
	made.tc_instructions = verified_instructions(made.ingress);
	if (verified_instructions(made.egress) > made.tc_instructions)
		made.tc_instructions = verified_instructions(made.egress);
	*program = made;
	return 0;
}

void program_free(struct program *program)
{
	if (program->object.bpf)
		object_close(&program->object);
	if (program->replies)
		munmap(program->replies, sizeof(*program->replies));
	free(program->expected);
	free(program->expected_ports);
	rules_free(&program->rules);
	source_free(&program->source);
	memset(program, 0, sizeof(*program));
}

/* ---- Running ---- */

static uint64_t clock_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

int program_run(const struct program *program, const struct trial *trial, int interface,
		struct observation *observation)
{
	struct xdp_md context = {
		.data_end = (uint32_t)(trial->linear ? trial->linear : trial->length),
		.ingress_ifindex = (uint32_t)interface,
	};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = trial->frame,
		    .data_size_in = (uint32_t)trial->length, .data_out = observation->frame,
		    .data_size_out = sizeof(observation->frame), .repeat = 1);

	if (trial->linear || interface) {
		options.ctx_in = &context;
		options.ctx_size_in = sizeof(context);
	}
	observation->before = clock_now();

	int err = bpf_prog_test_run_opts(program->xdp, &options);

	observation->after = clock_now();
	if (err)
		return -errno;
	observation->action = options.retval;
	observation->length = options.data_size_out;
	return 0;
}

int program_run_tc(int program, const struct trial *trial, struct observation *observation)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = trial->frame,
		    .data_size_in = (uint32_t)trial->length, .data_out = observation->frame,
		    .data_size_out = sizeof(observation->frame), .repeat = 1);

	observation->before = clock_now();

	int err = bpf_prog_test_run_opts(program, &options);

	observation->after = clock_now();
	if (err)
		return -errno;
	observation->action = options.retval;
	observation->length = options.data_size_out;
	return 0;
}

bool kernel_splits_frames(void)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	static uint8_t frame[200];
	struct xdp_md context = {.data_end = sizeof(frame) / 2};
	LIBBPF_OPTS(bpf_prog_load_opts, load, .prog_flags = BPF_F_XDP_HAS_FRAGS);
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = 1);
	int program = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", pass,
				    sizeof(pass) / sizeof(*pass), &load);
	bool splits = program >= 0 && !bpf_prog_test_run_opts(program, &options);

	if (program >= 0)
		close(program);
	return splits;
}

/* ---- Counters ---- */

static int reason_number(const struct manifest *manifest, const char *reason, uint32_t *number)
{
	for (size_t i = 0; i < manifest->reason_count; i++)
		if (!strcmp(manifest->reasons[i], reason)) {
			*number = (uint32_t)i;
			return 0;
		}
	return -ENOENT;
}

static const struct manifest_listener *find_listener(const struct manifest *manifest,
						     const char *name)
{
	for (size_t i = 0; i < manifest->listener_count; i++)
		if (!strcmp(manifest->listeners[i].name, name))
			return &manifest->listeners[i];
	return NULL;
}

int program_counter(const struct program *program, const struct outcome *outcome, uint32_t *counter)
{
	const struct manifest *manifest = &program->object.manifest;
	const struct manifest_listener *listener = find_listener(manifest, outcome->listener->name);
	uint32_t reason;

	if (!listener || reason_number(manifest, outcome->reason, &reason))
		return -ENOENT;
	*counter = listener->counters + reason;
	if (!outcome->route || !listener->route_count)
		return 0;

	/* Both lists are sorted alike. */
	size_t number = (size_t)(outcome->route - outcome->listener->routes);

	if (number >= listener->route_count ||
	    strcmp(listener->routes[number].tag, outcome->route->text) ||
	    listener->routes[number].port != outcome->route->port)
		return -ENOENT;
	*counter = listener->routes[number].counter;
	return 0;
}

static int read_tally(int map, uint32_t counter, struct tally *tally)
{
	static struct tally cpus[CPUS_MAX];
	int count = libbpf_num_possible_cpus();

	if (count < 0 || count > CPUS_MAX)
		return -EINVAL;
	if (bpf_map_lookup_elem(map, &counter, cpus))
		return -errno;
	*tally = (struct tally){0};
	for (int i = 0; i < count; i++) {
		tally->packets += cpus[i].packets;
		tally->bytes += cpus[i].bytes;
	}
	return 0;
}

int program_counter_read(const struct program *program, uint32_t counter, struct tally *tally)
{
	return read_tally(program->counters, counter, tally);
}

int program_ingress_counter(const struct program *program, uint32_t listener, const char *reason,
			    uint32_t *counter)
{
	const struct manifest *manifest = &program->object.manifest;

	for (size_t i = 0; i < manifest->ingress_reason_count; i++)
		if (!strcmp(manifest->ingress_reasons[i], reason)) {
			*counter =
				listener * (uint32_t)manifest->ingress_reason_count + (uint32_t)i;
			return 0;
		}
	return -ENOENT;
}

int program_ingress_counter_read(const struct program *program, uint32_t counter,
				 struct tally *tally)
{
	return read_tally(program->ingress_counters, counter, tally);
}

/* ---- What the program remembers ---- */

static void make_key(const struct tuple *tuple, uint8_t key[KEY_SIZE])
{
	size_t address = tuple->family == 4 ? 4 : 16;

	memset(key, 0, KEY_SIZE);
	memcpy(key, tuple->source, address);
	memcpy(key + address, tuple->destination, address);
	memcpy(key + 2 * address, tuple->source_port, 2);
	memcpy(key + 2 * address + 2, tuple->destination_port, 2);
}

/* Members are unsigned integers of this machine, little-endian. */
static uint64_t get(const uint8_t *value, const struct extent *member)
{
	uint64_t number = 0;

	memcpy(&number, value + member->offset, member->size < 8 ? member->size : 8);
	return number;
}

static void put(uint8_t *value, const struct extent *member, uint64_t number)
{
	memcpy(value + member->offset, &number, member->size < 8 ? member->size : 8);
}

int program_pending_write(const struct program *program, const struct tuple *tuple,
			  const struct memory *memory)
{
	uint8_t key[KEY_SIZE], value[VALUE_MAX] = {0};

	make_key(tuple, key);
#define MEMBER(name, from) put(value, &program->pending_layout.name, (from)->name)
	MEMBER(bound_at, memory);
	MEMBER(port, memory);
	MEMBER(listener, memory);
	MEMBER(delivered, memory);
	MEMBER(kept, memory);
	MEMBER(drops, memory);
	MEMBER(isn, &memory->binding);
	MEMBER(mss, &memory->binding);
	MEMBER(scaling, &memory->binding);
	MEMBER(sack, &memory->binding);
	MEMBER(ecn, &memory->binding);
	MEMBER(timestamps, &memory->binding);
	MEMBER(client_scale, &memory->binding);
	MEMBER(server_scale, &memory->binding);
	MEMBER(tsval, &memory->binding);
	MEMBER(tsecr, &memory->binding);
#undef MEMBER
	return bpf_map_update_elem(program->pending, key, value, BPF_ANY) ? -errno : 0;
}

int program_pending_read(const struct program *program, const struct tuple *tuple,
			 struct memory *memory)
{
	uint8_t key[KEY_SIZE], value[VALUE_MAX];

	make_key(tuple, key);
	if (bpf_map_lookup_elem(program->pending, key, value))
		return -errno;
	*memory = (struct memory){
		.binding =
			{
				.isn = (uint32_t)get(value, &program->pending_layout.isn),
				.mss = (uint16_t)get(value, &program->pending_layout.mss),
				.scaling = get(value, &program->pending_layout.scaling),
				.sack = get(value, &program->pending_layout.sack),
				.ecn = get(value, &program->pending_layout.ecn),
				.timestamps = get(value, &program->pending_layout.timestamps),
				.client_scale =
					(uint8_t)get(value, &program->pending_layout.client_scale),
				.server_scale =
					(uint8_t)get(value, &program->pending_layout.server_scale),
				.tsval = (uint32_t)get(value, &program->pending_layout.tsval),
				.tsecr = (uint32_t)get(value, &program->pending_layout.tsecr),
			},
		.port = (uint16_t)get(value, &program->pending_layout.port),
		.listener = (uint32_t)get(value, &program->pending_layout.listener),
		.delivered = get(value, &program->pending_layout.delivered),
		.kept = get(value, &program->pending_layout.kept),
		.drops = (uint32_t)get(value, &program->pending_layout.drops),
		.bound_at = get(value, &program->pending_layout.bound_at),
	};
	return 0;
}

int program_pending_forget(const struct program *program, const struct tuple *tuple)
{
	uint8_t key[KEY_SIZE];

	make_key(tuple, key);
	return bpf_map_delete_elem(program->pending, key) ? -errno : 0;
}

void program_recent_forget(const struct program *program)
{
	if (program->replies)
		program->replies->flows_added++;
}

static void make_flow_key(const struct tuple *tuple, uint16_t port, uint32_t direction,
			  uint8_t key[KEY_SIZE + 4])
{
	struct tuple flow = *tuple;

	flow.destination_port[0] = (uint8_t)(port >> 8);
	flow.destination_port[1] = (uint8_t)port;
	make_key(&flow, key);
	memcpy(key + KEY_SIZE, &direction, 4);
}

int program_flow_take(const struct program *program, const struct tuple *tuple, uint16_t port,
		      uint32_t direction, uint16_t *other)
{
	uint8_t key[KEY_SIZE + 4], value[VALUE_MAX];

	make_flow_key(tuple, port, direction, key);
	if (bpf_map_lookup_elem(program->flows, key, value))
		return -errno;
	*other = (uint16_t)get(value, &program->flow_port);
	program_recent_forget(program);
	return bpf_map_delete_elem(program->flows, key) ? -errno : 0;
}

int program_flow_delete(const struct program *program, const struct tuple *tuple, uint16_t port)
{
	uint8_t key[KEY_SIZE + 4];

	make_flow_key(tuple, port, 0, key);
	return bpf_map_delete_elem(program->flows, key) ? -errno : 0;
}

size_t program_recent_bits(const struct program *program, uint8_t family)
{
	const struct extent *addresses = &program->recent_addresses;

	return 8 * (size_t)(addresses->offset + (family == 4 ? 8 : addresses->size));
}

/* What a flow's ports are remembered as. */
static uint64_t recent_ports(const struct tuple *tuple, uint16_t backend)
{
	uint16_t from, to;

	memcpy(&from, tuple->source_port, sizeof(from));
	memcpy(&to, tuple->destination_port, sizeof(to));
	return (uint64_t)tuple->family << 48 | (uint64_t)to << 32 | (uint64_t)from << 16 | backend;
}

/* Of one slot, on every CPU, where it has these ports. Returns whether there was any. */
static bool turn_bit(const struct program *program, uint8_t *values, size_t size, uint64_t ports,
		     size_t bit)
{
	int count = libbpf_num_possible_cpus();
	bool any = false;

	for (int i = 0; i < count; i++, values += size)
		if (get(values, &program->recent_ports) == ports) {
			values[bit / 8] ^= (uint8_t)(1 << bit % 8);
			any = true;
		}
	return any;
}

int program_recent_turn(const struct program *program, const struct tuple *tuple, uint16_t backend,
			size_t bit)
{
	uint64_t ports = recent_ports(tuple, backend);
	static uint8_t values[CPUS_MAX * VALUE_MAX];
	struct bpf_map *map = bpf_object__find_map_by_name(program->object.bpf, "recent_flows");
	bool any = false;

	for (uint32_t i = 0; i < bpf_map__max_entries(map); i++) {
		if (bpf_map_lookup_elem(program->recent_flows, &i, values))
			return -errno;
		if (!turn_bit(program, values, bpf_map__value_size(map), ports, bit))
			continue;
		if (bpf_map_update_elem(program->recent_flows, &i, values, BPF_ANY))
			return -errno;
		any = true;
	}
	return any ? 0 : -ENOENT;
}

int program_ports_read(const struct program *program, struct ports *ports)
{
	const uint32_t first = 0;

	memset(ports, 0, sizeof(*ports));
	if (program->bound_ports >= 0 &&
	    bpf_map_lookup_elem(program->bound_ports, &first, ports->bound))
		return -errno;
	if (program->reply_ports >= 0 &&
	    bpf_map_lookup_elem(program->reply_ports, &first, &ports->replies))
		return -errno;
	return 0;
}

bool program_map_clear(int map)
{
	uint8_t key[KEY_SIZE + 4];
	bool any = false;

	while (map >= 0 && !bpf_map_get_next_key(map, NULL, key)) {
		any = true;
		bpf_map_delete_elem(map, key);
	}
	return any;
}

bool program_flows_clear(const struct program *program)
{
	program_recent_forget(program);
	return program_map_clear(program->flows);
}
