/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A source of samples is a program's variable `capture`, by which it is told what to sample, and
 * its perf buffer. The XDP program and the one of the hand-over share them, unless an older
 * generation's is still in TC.
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

#include "error.h"
#include "layout.h"
#include "sampler.h"
#include "scope.h"

enum {
	LEASE_SECONDS = 3,  /* how long the programs believe that we are there */
	BUFFER_PAGES = 128, /* of each CPU */
	MAPS_MAX = 64,	    /* of a program */
	VLAN_TAG = 4,	    /* bytes */
	ADDRESSES = 12,	    /* bytes of an Ethernet header before its type */
};

static const uint64_t second = 1000 * 1000 * 1000;

/* What a sample begins with: docs/object.md. */
struct head {
	uint64_t time;
	uint32_t index, hand_over, length, captured, vlan_proto, vlan_tci;
};

/* The members of the variable `capture`, as far as they are written. */
struct settings {
	uint64_t *until, *interval, *snaplen, *wanted;
};

struct source {
	struct sampler *sampler;
	uint32_t variables; /* id of the map */
	void *page;	    /* the map, in our memory */
	struct settings settings;
	bool claimed;	 /* `until` is ours */
	int sampling;	 /* descriptor of the map with the counts */
	uint32_t stride; /* bytes from one CPU's counts to the next one's */
	struct extent skipped, lost;
	struct sample_counts before;
	int samples; /* descriptor of the map: the kernel takes the buffer out when it closes */
	struct perf_buffer *buffer;
	uint8_t packet[SNAPLEN_MAX + VLAN_TAG]; /* with a VLAN tag put back in */
};

static uint64_t now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * second + time.tv_nsec;
}

/* ---- the maps of a program ------------------------------------------------------------------- */

struct maps {
	int variables, samples, sampling; /* descriptors */
	uint32_t id, btf;		  /* of the variables */
	uint32_t stride, sampling_btf, sampling_type;
};

static void scoped_maps(struct maps *maps)
{
	scoped_close(&maps->variables);
	scoped_close(&maps->samples);
	scoped_close(&maps->sampling);
}

/* The kernel cuts names: "capture_samples" is as long as they get, "capture_sampling" longer. */
static void take_map(struct maps *maps, int *fd, const struct bpf_map_info *info)
{
	const char *dot = strrchr(info->name, '.');

	if (dot && !strcmp(dot, ".bss")) {
		maps->variables = TAKE_FD(*fd);
		maps->id = info->id;
		maps->btf = info->btf_id;
	} else if (info->type == BPF_MAP_TYPE_PERF_EVENT_ARRAY) {
		maps->samples = TAKE_FD(*fd);
	} else if (!strcmp(info->name, "capture_samplin")) {
		maps->sampling = TAKE_FD(*fd);
		maps->stride = (info->value_size + 7) / 8 * 8;
		maps->sampling_btf = info->btf_id;
		maps->sampling_type = info->btf_value_type_id;
	}
}

static int find_maps(int program, struct maps *out)
{
	SCOPED(scoped_maps) struct maps maps = {-1, -1, -1, 0, 0, 0, 0, 0};
	uint32_t ids[MAPS_MAX];
	struct bpf_prog_info of_program = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)ids};
	uint32_t size = sizeof(of_program);

	if (bpf_obj_get_info_by_fd(program, &of_program, &size))
		return -errno;
	for (uint32_t i = 0; i < of_program.nr_map_ids && i < MAPS_MAX; i++) {
		SCOPED(scoped_close) int fd = bpf_map_get_fd_by_id(ids[i]);
		struct bpf_map_info info = {};

		size = sizeof(info);
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
			return -errno;
		take_map(&maps, &fd, &info);
	}
	if (maps.variables < 0 || maps.samples < 0 || maps.sampling < 0)
		return -ENOENT;
	*out = maps;
	maps.variables = maps.samples = maps.sampling = -1;
	return 0;
}

static void scoped_btf(struct btf **btf)
{
	btf__free(*btf);
}

/* A member of the variable `capture`, in our memory; NULL: there is none of that size. */
static uint64_t *setting(const struct btf *btf, const struct extent *variable, void *page,
			 const char *name, uint32_t size)
{
	struct extent member;

	if (layout_member(btf, btf__find_by_name_kind(btf, "capture", BTF_KIND_STRUCT), name,
			  &member) ||
	    member.size != size || member.offset + size > variable->size)
		return NULL;
	return page + variable->offset + member.offset;
}

static int find_settings(struct source *source, const struct maps *maps)
{
	SCOPED(scoped_btf) struct btf *btf = btf__load_from_kernel_by_id(maps->btf);
	struct settings *settings = &source->settings;
	size_t page_size = sysconf(_SC_PAGESIZE);
	struct extent variable;

	if (!btf || layout_variable(btf, ".bss", "capture", &variable) ||
	    variable.offset + variable.size > page_size)
		return -ENOENT;
	source->page =
		mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, maps->variables, 0);
	if (source->page == MAP_FAILED) {
		source->page = NULL;
		return -errno;
	}
	settings->until = setting(btf, &variable, source->page, "until", 8);
	settings->interval = setting(btf, &variable, source->page, "interval", 8);
	settings->snaplen = setting(btf, &variable, source->page, "snaplen", 8);
	settings->wanted = setting(btf, &variable, source->page, "wanted", 8 * WANTED_LISTENERS);
	return settings->until && settings->interval && settings->snaplen && settings->wanted
		       ? 0
		       : -ENOENT;
}

/* ---- counts ---------------------------------------------------------------------------------- */

static int find_counts(struct source *source, struct maps *maps)
{
	SCOPED(scoped_btf) struct btf *btf = btf__load_from_kernel_by_id(maps->sampling_btf);

	if (!btf || layout_member(btf, maps->sampling_type, "skipped", &source->skipped) ||
	    layout_member(btf, maps->sampling_type, "lost", &source->lost) ||
	    source->skipped.size != 8 || source->lost.size != 8)
		return -ENOENT;
	source->sampling = TAKE_FD(maps->sampling);
	source->stride = maps->stride;
	return 0;
}

static struct sample_counts read_counts(const struct source *source)
{
	int cpus = libbpf_num_possible_cpus();
	SCOPED(scoped_free) char *values = calloc(cpus > 0 ? cpus : 1, source->stride);
	struct sample_counts counts = {};

	if (!values || bpf_map_lookup_elem(source->sampling, &(uint32_t){0}, values))
		return counts;
	for (int cpu = 0; cpu < cpus; cpu++) {
		uint64_t value;

		memcpy(&value, values + cpu * source->stride + source->skipped.offset, 8);
		counts.skipped += value;
		memcpy(&value, values + cpu * source->stride + source->lost.offset, 8);
		counts.lost += value;
	}
	return counts;
}

/* ---- samples --------------------------------------------------------------------------------- */

/* The packet as it came: the kernel may have taken its VLAN tag out. */
static void put_tag_back(struct source *source, const struct head *head, struct sample *sample)
{
	const uint8_t tag[VLAN_TAG] = {head->vlan_proto >> 8, head->vlan_proto, head->vlan_tci >> 8,
				       head->vlan_tci};

	memcpy(source->packet, sample->data, ADDRESSES);
	memcpy(source->packet + ADDRESSES, tag, VLAN_TAG);
	memcpy(source->packet + ADDRESSES + VLAN_TAG, sample->data + ADDRESSES,
	       sample->captured - ADDRESSES);
	sample->length += VLAN_TAG;
	sample->captured += VLAN_TAG;
	sample->data = source->packet;
}

static void receive(void *data, int cpu, void *record, __u32 size)
{
	struct source *source = data;
	const struct head *head = record;
	struct sample sample;

	(void)cpu;
	if (size < sizeof(*head) || head->captured > size - sizeof(*head) ||
	    head->captured > SNAPLEN_MAX)
		return;
	sample = (struct sample){
		/* Asked anew each time: somebody may set the clock meanwhile. */
		.time = now(CLOCK_REALTIME) - now(CLOCK_MONOTONIC) + head->time,
		.hand_over = head->hand_over,
		.index = head->index,
		.length = head->length,
		.captured = head->captured,
		.data = (const uint8_t *)(head + 1),
	};
	if (head->vlan_proto && head->captured >= ADDRESSES)
		put_tag_back(source, head, &sample);
	source->sampler->show(&sample, source->sampler->data);
}

/* ---- a source -------------------------------------------------------------------------------- */

static void close_source(struct source *source)
{
	if (!source)
		return;
	if (source->claimed)
		__atomic_store_n(source->settings.until, 0, __ATOMIC_RELAXED);
	perf_buffer__free(source->buffer);
	if (source->page)
		munmap(source->page, sysconf(_SC_PAGESIZE));
	scoped_close(&source->sampling);
	scoped_close(&source->samples);
	free(source);
}

static void scoped_source(struct source **source)
{
	close_source(*source);
}

/*
 * Makes the variable ours. One that was killed left it in the future, but not for long: it is
 * another's only if it moves.
 */
static int claim(struct source *source)
{
	uint64_t *until = source->settings.until;
	uint64_t found = __atomic_load_n(until, __ATOMIC_RELAXED);

	while (found > now(CLOCK_MONOTONIC)) {
		usleep(100 * 1000);
		if (__atomic_load_n(until, __ATOMIC_RELAXED) > found)
			return -EBUSY;
		if (!__atomic_load_n(until, __ATOMIC_RELAXED))
			found = 0;
	}
	if (!__atomic_compare_exchange_n(until, &found,
					 now(CLOCK_MONOTONIC) + LEASE_SECONDS * second, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED) &&
	    found > now(CLOCK_MONOTONIC))
		return -EBUSY;
	source->claimed = true;
	return 0;
}

static int open_source(struct sampler *sampler, int program, const struct sampling *sampling,
		       struct source **out)
{
	SCOPED(scoped_source) struct source *source = calloc(1, sizeof(*source));
	SCOPED(scoped_maps) struct maps maps = {-1, -1, -1, 0, 0, 0, 0, 0};
	int err = source ? find_maps(program, &maps) : -ENOMEM;

	if (err)
		return err;
	source->sampler = sampler;
	source->sampling = source->samples = -1;
	source->variables = maps.id;
	err = find_settings(source, &maps);
	if (!err)
		err = find_counts(source, &maps);
	if (!err)
		err = claim(source);
	if (err)
		return err;
	source->before = read_counts(source);
	memcpy(source->settings.wanted, sampling->wanted, sizeof(sampling->wanted));
	*source->settings.snaplen = sampling->snaplen;
	*source->settings.interval = second / sampling->rate;
	source->samples = TAKE_FD(maps.samples);
	source->buffer =
		perf_buffer__new(source->samples, BUFFER_PAGES, receive, NULL, source, NULL);
	if (!source->buffer)
		return -errno;
	*out = TAKE(source);
	return 0;
}

/* Whether a program writes to a source that is open already. */
static bool has_source(const struct sampler *sampler, int program)
{
	SCOPED(scoped_maps) struct maps maps = {-1, -1, -1, 0, 0, 0, 0, 0};

	return !find_maps(program, &maps) && sampler->sources[0] &&
	       sampler->sources[0]->variables == maps.id;
}

int sampler_open(struct sampler *sampler, int xdp, int ingress, const struct sampling *sampling,
		 sample_fn show, void *data, char *error, size_t n)
{
	int err;

	*sampler = (struct sampler){.show = show, .data = data};
	libbpf_set_print(NULL);
	err = open_source(sampler, xdp, sampling, &sampler->sources[0]);
	if (!err && ingress >= 0 && !has_source(sampler, ingress))
		err = open_source(sampler, ingress, sampling, &sampler->sources[1]);
	if (err == -EBUSY)
		return failed(error, n, EBUSY,
			      "another mplex-run captures there already: only one can");
	if (err == -ENOENT)
		return failed(error, n, ENOENT,
			      "the running program has no samples to capture: compile its rules "
			      "again with this version of mplexc");
	if (err)
		return failed(error, n, -err, "cannot capture from the running program: %s",
			      strerror(-err));
	sampler_renew(sampler);
	return 0;
}

int sampler_fd(const struct sampler *sampler, unsigned i)
{
	return sampler->sources[i] ? perf_buffer__epoll_fd(sampler->sources[i]->buffer) : -1;
}

int sampler_read(struct sampler *sampler)
{
	int err = 0;

	for (unsigned i = 0; i < SOURCES && err >= 0 && sampler->sources[i]; i++)
		err = perf_buffer__consume(sampler->sources[i]->buffer);
	return err < 0 ? err : 0;
}

void sampler_renew(struct sampler *sampler)
{
	uint64_t until = now(CLOCK_MONOTONIC) + LEASE_SECONDS * second;

	for (unsigned i = 0; i < SOURCES && sampler->sources[i]; i++)
		__atomic_store_n(sampler->sources[i]->settings.until, until, __ATOMIC_RELAXED);
}

void sampler_count(const struct sampler *sampler, struct sample_counts *counts)
{
	for (unsigned i = 0; i < SOURCES && sampler->sources[i]; i++) {
		const struct source *source = sampler->sources[i];
		struct sample_counts now = read_counts(source);

		counts->skipped += now.skipped - source->before.skipped;
		counts->lost += now.lost - source->before.lost;
	}
}

void sampler_close(struct sampler *sampler)
{
	for (unsigned i = 0; i < SOURCES; i++)
		close_source(sampler->sources[i]);
	memset(sampler, 0, sizeof(*sampler));
}
