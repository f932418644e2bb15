/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A session: a rule file from its number, its program, and frame after frame through both the
 * program and the interpreter, until they differ or there were enough.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "kept.h"
#include "network.h"
#include "program.h"
#include "random.h"
#include "rule_file.h"
#include "session.h"
#include "shrink.h"
#include "tc.h"
#include "traffic.h"

enum {
	LINES_SHOWN = 60,
	CONNECTION_FRAMES = 24,
	TALKS = 4, /* of a rule file, and frames of each */
	TALK_FRAMES = 24,
	HAND_OVERS = 8,
	HAND_OVER_FRAMES = 12,
	MS = 1000000,
	HEADERS = 110, /* bytes of a frame that a sweep varies */
};

struct session {
	const struct options *options;
	struct tasks *tasks;
	uint64_t seed;
	struct random random;
	struct host host;
	struct plan_options plan;
	char *text;
	size_t size;
	struct program program;
	bool splits_frames;
	int interface;
	bool failed;
};

static uint64_t clock_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* ---- Reporting ---- */

static void print_rules(const char *text, FILE *out)
{
	size_t lines = count_lines(text);

	if (lines <= LINES_SHOWN) {
		fputs(text, out);
		return;
	}

	const char *end = find_line((char *)text, LINES_SHOWN);

	fwrite(text, 1, (size_t)(end - text), out);
	fprintf(out, "... and %zu lines more\n", lines - LINES_SHOWN);
}

static void print_host(const struct host *host, FILE *out)
{
	fprintf(out,
		"host: MAC %02x:%02x:%02x:%02x:%02x:%02x, local known %d (%u IPv4, %u IPv6), "
		"key %016lx %016lx, MSS %u %u, window %u << %u, SACK %d, timestamps %d, ECN %d, "
		"TTL %u, hop limit %u, redirect %d, observe %d, linear %d\n",
		host->mac[0], host->mac[1], host->mac[2], host->mac[3], host->mac[4], host->mac[5],
		host->local_known, host->local_v4_count, host->local_v6_count, host->key[0],
		host->key[1], host->mss_v4, host->mss_v6, host->window, host->window_scale,
		host->sack, host->timestamps, host->ecn, host->ttl, host->hop_limit, host->redirect,
		host->observe, host->linear);
}

/* Writes a report in one piece, so that those of several workers do not mix. */
static void publish(char *report, size_t size)
{
	flock(STDOUT_FILENO, LOCK_EX);
	fwrite(report, 1, size, stdout);
	fflush(stdout);
	flock(STDOUT_FILENO, LOCK_UN);
	free(report);
}

static FILE *open_report(const struct session *session, char **report, size_t *size)
{
	FILE *out = open_memstream(report, size);

	if (!out)
		abort();
	fprintf(out,
		"\n==== FAILED: --seed %lu --files 1 --frames %lu%s%s%s (dispatch %d, counters "
		"%d)\n",
		session->seed, session->options->frames,
		session->options->patterns ? "" : " --exact",
		session->options->rules ? " --rules " : "",
		session->options->rules ? session->options->rules : "", session->plan.dispatch,
		session->plan.counters);
	return out;
}

static void fail(struct session *session, const char *why)
{
	char *report;
	size_t size;
	FILE *out = open_report(session, &report, &size);

	fprintf(out, "%s\n", why);
	print_host(&session->host, out);
	print_rules(session->text, out);
	fclose(out);
	publish(report, size);
	session->failed = true;
	session->tasks->failures++;
}

/* A failure's file names say which run it comes from. */
static void save(const struct session *session, const char *text, const struct trial *trial,
		 const struct check *check, FILE *out)
{
	static struct kept kept;
	char name[64], comment[512];
	int err;

	kept = (struct kept){
		.plan = session->plan,
		.host = session->host,
		.forwarding = trial->way != WAY_SENDER,
		.trial = *trial,
	};
	snprintf(name, sizeof(name), "failure_%lu", session->seed);
	snprintf(comment, sizeof(comment), "%s: %s", check->difference, check->detail);
	err = kept_write(session->options->save, name, text, comment, clock_now(), &kept);
	fprintf(out, err ? "cannot save it as %s/%s: %s\n" : "saved as %s/%s\n",
		session->options->save, name, strerror(-err));
}

static void fail_trial(struct session *session, int interface, const struct trial *trial,
		       struct check *check)
{
	const struct failure failure = {
		.plan = &session->plan,
		.host = &session->host,
		.interface = interface,
		.first = check,
	};
	static struct trial smaller;
	char *report, *text;
	size_t size;
	FILE *out = open_report(session, &report, &size);

	fprintf(out, "first seen: %s: %s\n", check->difference, check->detail);
	smaller = *trial;
	if (!session->options->first)
		shrink_frame(&failure, &session->program, &smaller);
	trial_report(&session->program, &session->host, interface, &smaller, out);
	print_host(&session->host, out);
	text = session->options->first ? strdup(session->text)
				       : shrink_text(&failure, session->text, &smaller);
	if (!text)
		abort();
	print_rules(text, out);
	if (session->options->save)
		save(session, text, &smaller, check, out);
	free(text);
	fclose(out);
	publish(report, size);
	session->failed = true;
	session->tasks->failures++;
}

void count_outcomes(struct tasks *tasks, const char *reason, unsigned long frames)
{
	for (size_t i = 0; i < OUTCOMES_MAX; i++) {
		if (!tasks->outcomes[i].reason[0])
			strncpy(tasks->outcomes[i].reason, reason,
				sizeof(tasks->outcomes[i].reason) - 1);
		if (strcmp(tasks->outcomes[i].reason, reason))
			continue;
		tasks->outcomes[i].frames += frames;
		return;
	}
}

/* ---- Trying ---- */

/* A frame of several buffers, for a program that has none such. */
static bool is_too_long(const struct session *session, const struct trial *trial)
{
	return session->host.linear && trial->length > FRAME_MAX_LINEAR;
}

static void try(struct session *session, int interface, struct trial *trial)
{
	struct check check;
	int err;

	if (session->failed || is_too_long(session, trial))
		return;
	if (!session->splits_frames || session->host.linear)
		trial->linear = 0;
	err = trial_check(&session->program, &session->host, interface, trial, &check);
	/* Kernels of one buffer a frame take no longer ones. */
	if (err == -EMSGSIZE && !session->splits_frames)
		return;
	if (err) {
		char why[128];

		snprintf(why, sizeof(why), "a frame of %zu bytes cannot be run: %s", trial->length,
			 strerror(-err));
		fail(session, why);
		return;
	}
	session->tasks->frames++;
	count_outcomes(session->tasks, check.outcome.reason ? check.outcome.reason : "not ours", 1);
	if (check.difference)
		fail_trial(session, interface, trial, &check);
}

static struct traffic now(struct session *session)
{
	return (struct traffic){
		.random = &session->random,
		.rules = &session->program.rules,
		.host = &session->host,
		.now = clock_now(),
	};
}

static const struct listener *draw_listener(struct session *session)
{
	const struct rules *rules = &session->program.rules;

	return &rules->listeners[random_below(&session->random, rules->listener_count)];
}

static void check_libcrypto(struct session *session, int err)
{
	if (err)
		fail(session, "libcrypto failed");
}

/* One good frame cut off at every byte, and every byte of its headers at the edges. */
static void try_sweep(struct session *session, enum protocol protocol, uint8_t family)
{
	static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff};
	static struct trial plain, trial;
	struct traffic traffic = now(session);
	const struct listener *listener = draw_listener(session);

	if (!(listener->protocols & protocol) || !listener_has_family(&traffic, listener, family))
		return;
	check_libcrypto(session, trial_draw_plain(&traffic, listener, protocol, family, &plain));
	for (size_t length = FRAME_MIN; length <= plain.length && length < 4 * HEADERS; length++) {
		trial = plain;
		trial.length = length;
		try(session, 0, &trial);
	}
	for (size_t at = 0; at < plain.length && at < HEADERS; at++) {
		uint8_t byte = plain.frame[at];
		const uint8_t near[] = {byte + 1, byte - 1, byte ^ 0x10, byte ^ 0x40};

		trial = plain;
		for (size_t i = 0; i < sizeof(edges); i++) {
			trial.frame[at] = edges[i];
			try(session, 0, &trial);
		}
		for (size_t i = 0; i < sizeof(near); i++) {
			trial.frame[at] = near[i];
			try(session, 0, &trial);
		}
	}
}

/*
 * IPv4 headers that are none: of less than five words, and of version 5. The listen port stands
 * where ports would be read if the header counted: in the address, or in the length.
 */
static void try_no_ipv4_headers(struct session *session)
{
	static struct trial trial;
	struct traffic traffic = now(session);
	const struct listener *listener = draw_listener(session);
	const struct message message = {.listener = listener, .route = &listener->routes[0]};
	const uint8_t port[2] = {(uint8_t)(listener->port >> 8), (uint8_t)listener->port};
	uint8_t *ip = trial.frame + 14;

	check_libcrypto(session, trial_draw_message(&traffic, &message, &trial));
	if (ip[0] != 0x45)
		return;
	ip[0] = 0x50;
	memcpy(ip + 2, port, sizeof(port));
	try(session, 0, &trial);
	ip[0] = 0x44;
	memcpy(ip + 18, port, sizeof(port));
	try(session, 0, &trial);
}

static void try_every_route(struct session *session)
{
	static struct trial trial;
	const struct rules *rules = &session->program.rules;

	for (size_t i = 0; i < rules->listener_count; i++)
		for (size_t j = 0; j < rules->listeners[i].route_count && !session->failed; j++) {
			struct traffic traffic = now(session);
			const struct message message = {
				.listener = &rules->listeners[i],
				.route = &rules->listeners[i].routes[j],
			};

			check_libcrypto(session, trial_draw_message(&traffic, &message, &trial));
			try(session, 0, &trial);
		}
}

/* Every length around the edges of the window, and around where a first segment may be cut. */
static void try_lengths_of(struct session *session, const struct listener *listener,
			   unsigned protocol)
{
	static struct trial trial;
	const size_t edges[] = {listener->length_min,
				listener->length_max,
				2 * (size_t)listener->length_min,
				2 * (size_t)listener->length_max,
				FIRST_SEGMENT,
				end_of_judged(listener)};

	for (size_t i = 0; i < sizeof(edges) / sizeof(*edges); i++)
		for (size_t length = edges[i] < 3 ? 1 : edges[i] - 2; length <= edges[i] + 2;
		     length++) {
			struct traffic traffic = now(session);
			const struct message message = {
				.listener = listener,
				.route = &listener->routes[0],
				.protocol = protocol,
				.length = length,
			};

			check_libcrypto(session, trial_draw_message(&traffic, &message, &trial));
			try(session, 0, &trial);
		}
}

static void try_lengths(struct session *session)
{
	const struct rules *rules = &session->program.rules;

	for (size_t i = 0; i < rules->listener_count; i++)
		for (unsigned protocol = PROTOCOL_TCP; protocol <= PROTOCOL_UDP; protocol++)
			if (rules->listeners[i].protocols & protocol)
				try_lengths_of(session, &rules->listeners[i], protocol);
}

/* Checksums that carry twice, or nearly so, when the port changes (RFC 1624), for either order. */
static void try_checksums_of(struct session *session, const struct route *route,
			     struct trial *trial)
{
	uint8_t *udp = trial->frame + trial->transport;
	uint16_t from, to = htons(route->port);

	memcpy(&from, udp + 2, sizeof(from));
	for (uint16_t low = 0xfffd; low; low++) {
		uint16_t check = ~(uint16_t)(low - (uint16_t)~from - to);

		memcpy(udp + 6, &check, sizeof(check));
		try(session, 0, trial);
	}
}

static void try_checksums(struct session *session)
{
	static struct trial trial;

	for (int i = 0; i < 8; i++) {
		struct traffic traffic = now(session);
		const struct listener *listener = draw_listener(session);
		const struct message message = {
			.listener = listener,
			.route = &listener->routes[random_below(&session->random,
								listener->route_count)],
			.protocol = PROTOCOL_UDP,
		};

		if (!(listener->protocols & PROTOCOL_UDP))
			continue;
		check_libcrypto(session, trial_draw_message(&traffic, &message, &trial));
		try_checksums_of(session, message.route, &trial);
	}
}

static void try_ways_back(struct session *session)
{
	static struct trial trial;

	for (int way = 0; way < WAYS; way++) {
		struct traffic traffic = now(session);
		const struct listener *listener = draw_listener(session);

		if (!(listener->protocols & PROTOCOL_TCP))
			continue;
		check_libcrypto(session, trial_draw_routed(&traffic, listener, way, &trial));
		try(session, way == WAY_SENDER ? 0 : session->interface, &trial);
	}
}

static void try_frames_of(struct session *session, const struct listener *listener,
			  const struct tuple *tuple, const struct situation *situation)
{
	static struct trial trial;

	for (int i = 0; i < CONNECTION_FRAMES; i++) {
		struct traffic traffic = now(session);

		check_libcrypto(session, trial_draw_connection(&traffic, listener, tuple, situation,
							       &trial));
		try(session, 0, &trial);
	}
}

/* Segments of a connection that the kernel has, alive and then in TIME_WAIT. */
static void try_connection(struct session *session)
{
	struct traffic traffic = now(session);
	const struct listener *listener = draw_listener(session);
	struct random *random = &session->random;
	struct situation situation = {.socket.state = SOCKET_LIVE};
	struct connection connection;
	bool timestamps = random_chance(random, 70);
	struct tuple tuple = {
		.family = random_chance(random, 50) ? 4 : 6,
		.destination_port = {(uint8_t)(listener->port >> 8), (uint8_t)listener->port},
	};
	struct situation unused;
	int err;

	if (!(listener->protocols & PROTOCOL_TCP) ||
	    !listener_has_family(&traffic, listener, tuple.family))
		return;
	address_draw(&traffic, listener, tuple.family, tuple.destination);
	if (!network_connects(&tuple))
		return;
	network_client(random, WAY_SENDER, tuple.family, tuple.source, &unused);
	err = connection_open(&tuple, timestamps, &connection);
	if (!err) {
		try_frames_of(session, listener, &tuple, &situation);
		err = connection_finish(&connection, &tuple, timestamps, &situation);
	}
	if (!err)
		try_frames_of(session, listener, &tuple, &situation);
	else
		fail(session, strerror(-err));
	connection_abort(&connection);
}

/* ---- Trying TC ---- */

static void count_tc(struct session *session, const char *name)
{
	session->tasks->frames++;
	count_outcomes(session->tasks, name ? name : "tc: next", 1);
}

static void fail_tc(struct session *session, const char *program, const struct trial *trial,
		    const struct difference *difference)
{
	char *report;
	size_t size;
	FILE *out = open_report(session, &report, &size);

	fprintf(out, "%s: %s\nframe (%zu bytes):\n", program, difference->text, trial->length);
	for (size_t i = 0; i < trial->length; i++)
		fprintf(out, "%02x%s", trial->frame[i],
			i % 32 == 31 || i + 1 == trial->length ? "\n" : "");
	print_rules(session->text, out);
	fclose(out);
	publish(report, size);
	session->failed = true;
	session->tasks->failures++;
}

static bool is_group(const struct trial *trial)
{
	return trial->frame[0] & 1;
}

/*
 * Sends messages of one client through XDP, and keeps what is noted of them: nothing where they are
 * too long for the program.
 */
static int start_talk(struct session *session, const struct listener *listener, struct talk *talk)
{
	static struct trial trial;
	size_t messages = random_between(&session->random, 1, 4);

	*talk = (struct talk){.listen = listener->port};
	for (size_t i = 0; i < messages; i++) {
		struct traffic traffic = now(session);
		const struct message message = {
			.listener = listener,
			.route = &listener->routes[random_below(&session->random,
								listener->route_count)],
			.protocol = PROTOCOL_UDP,
			.tuple = i ? &talk->tuple : NULL,
		};
		struct outcome outcome;
		int err = trial_draw_message(&traffic, &message, &trial);

		if (is_too_long(session, &trial))
			return 0;
		if (!err)
			err = trial_check_quietly(&session->program, &session->host, &trial,
						  &outcome);
		if (err)
			return err;
		if (!i)
			talk->tuple = trial.tuple;
		if (outcome.port && outcome.port != listener->port && !is_group(&trial) &&
		    listener->replies == REPLIES_TRACKED)
			talk_note(talk, outcome.port);
	}
	return 0;
}

static const struct route *find_route_to(const struct listener *listener, uint16_t port)
{
	for (size_t i = 0; i < listener->route_count; i++)
		if (listener->routes[i].port == port)
			return &listener->routes[i];
	return NULL;
}

/*
 * A flow that is deleted behind the program's back: whether its next message, on the same CPU, adds
 * it again when what is remembered of it had this bit turned over; -1: no bit.
 */
static int is_added_again(struct session *session, const struct trial *trial, uint16_t backend,
			  ssize_t bit, bool *added)
{
	const struct program *program = &session->program;
	struct outcome outcome;
	uint16_t port;
	int err = 0;

	program_recent_forget(program);
	/* The first message adds the flow, the second one finds it. */
	for (int i = 0; i < 2 && !err; i++)
		err = trial_check_quietly(&session->program, &session->host, trial, &outcome);
	if (!err)
		err = program_flow_delete(program, &trial->tuple, backend);
	if (!err && bit >= 0)
		err = program_recent_turn(program, &trial->tuple, backend, (size_t)bit);
	if (!err)
		err = trial_check_quietly(&session->program, &session->host, trial, &outcome);
	if (!err)
		*added = !program_flow_take(program, &trial->tuple, backend, 0, &port);
	return err;
}

static void check_recent(struct session *session, const struct trial *trial, uint16_t backend)
{
	size_t bits = program_recent_bits(&session->program, trial->tuple.family);
	size_t bit = random_below(&session->random, bits);
	bool added = false;
	int err = is_added_again(session, trial, backend, -1, &added);

	if (!err && added)
		fail(session, "a flow that was seen a moment ago was looked up again");
	if (!err)
		err = is_added_again(session, trial, backend, (ssize_t)bit, &added);
	if (!err && !added) {
		char why[128];

		snprintf(why, sizeof(why), "a flow was taken for one that differs in bit %zu", bit);
		fail(session, why);
	}
	if (err)
		fail(session, strerror(-err));
}

/* What a program remembers of flows is of the CPU that saw them. */
static void on_one_cpu(struct session *session, const struct trial *trial, uint16_t backend)
{
	cpu_set_t before, one;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	if (sched_getaffinity(0, sizeof(before), &before) ||
	    sched_setaffinity(0, sizeof(one), &one)) {
		fail(session, strerror(errno));
		return;
	}
	check_recent(session, trial, backend);
	sched_setaffinity(0, sizeof(before), &before);
}

/* A flow is looked up unless the last one of its slot was this very flow, in every bit. */
static int try_recent_flow(struct session *session, const struct listener *listener,
			   const struct talk *talk)
{
	static struct trial trial;
	struct traffic traffic = now(session);
	const struct message message = {
		.listener = listener,
		.route = find_route_to(listener, talk->last),
		.protocol = PROTOCOL_UDP,
		.tuple = &talk->tuple,
	};
	struct outcome outcome;
	int err;

	if (!message.route)
		return 0;
	err = trial_draw_message(&traffic, &message, &trial);
	if (is_too_long(session, &trial))
		return 0;
	if (!err)
		err = trial_check_quietly(&session->program, &session->host, &trial, &outcome);
	if (!err && outcome.port == talk->last && !is_group(&trial))
		on_one_cpu(session, &trial, talk->last);
	return err;
}

static uint16_t draw_backend(struct session *session, const struct listener *listener,
			     const struct talk *talk)
{
	struct random *random = &session->random;

	if (talk->count && random_chance(random, 80))
		return talk->backends[random_below(random, talk->count)];
	return listener->routes[random_below(random, listener->route_count)].port;
}

static int try_talk_frame(struct session *session, const struct listener *listener,
			  struct talk *talk, struct trial *trial, struct difference *difference)
{
	struct random *random = &session->random;
	struct traffic traffic = now(session);
	uint16_t backend = draw_backend(session, listener, talk);
	unsigned kind = (unsigned)random_below(random, 100);
	struct tuple tuple = talk->tuple;

	if (random_chance(random, 5)) /* of a client that nobody knows */
		tuple.source_port[0] ^= 1;
	if (kind < 50) {
		trial_draw_reply(&traffic, &tuple, backend, talk->listen, trial);
	} else if (kind < 75) {
		tuple.destination_port[0] = (uint8_t)(backend >> 8);
		tuple.destination_port[1] = (uint8_t)backend;
		trial_draw_error(&traffic, &tuple, true, talk->listen, trial);
	} else {
		trial_draw_error(&traffic, &tuple, false, talk->last, trial);
	}
	if (session->program.ingress >= 0 && (kind >= 75 || random_chance(random, 10)))
		return tc_check_ingress(&session->program, talk, trial, difference);
	return tc_check_egress(&session->program, talk, trial, difference);
}

static void try_talk(struct session *session)
{
	static struct trial trial;
	const struct listener *listener = draw_listener(session);
	struct difference difference;
	struct talk talk;
	int err;

	if (session->program.egress < 0 || !(listener->protocols & PROTOCOL_UDP) ||
	    listener->replies == REPLIES_NONE || session->failed)
		return;
	err = start_talk(session, listener, &talk);
	if (!err && !talk.tuple.family)
		return;
	for (int i = 0; i < TALK_FRAMES && !err && !session->failed; i++) {
		err = try_talk_frame(session, listener, &talk, &trial, &difference);
		if (err)
			break;
		count_tc(session, tc_last_reason());
		if (difference.text[0])
			fail_tc(session, "replies and errors", &trial, &difference);
	}
	if (!err)
		err = try_recent_flow(session, listener, &talk);
	if (err)
		fail(session, strerror(-err));
	program_flows_clear(&session->program);
}

static void draw_memory(struct session *session, const struct listener *listener,
			struct hand_over *hand_over)
{
	struct random *random = &session->random;
	uint64_t age = random_chance(random, 60) ? random_below(random, 60) * MS
						 : random_between(random, 400, 100000) * MS;

	hand_over->known = random_chance(random, 90);
	hand_over->memory = (struct memory){
		.binding = {.isn = (uint32_t)random_u64(random), .mss = 1460},
		.port = listener->routes[random_below(random, listener->route_count)].port,
		.listener = (uint32_t)(listener - session->program.rules.listeners),
		.delivered = random_chance(random, 50),
		.kept = random_chance(random, 20),
		.drops = random_chance(random, 40),
		.bound_at = clock_now() - age,
	};
}

/* A server that listens, or none where its port is taken or the kernel has no such server. */
static void open_server(struct session *session, struct hand_over *hand_over, struct server *server)
{
	enum server_kind kind = (enum server_kind)random_below(&session->random, SERVER_KINDS);

	if (server_open(kind, hand_over->memory.port, server) &&
	    server_open(SERVER_NONE, hand_over->memory.port, server))
		abort();
	hand_over->server = server->kind;
}

static int try_segments(struct session *session, struct hand_over *hand_over)
{
	static struct trial trial;
	struct difference difference;
	int err = 0;

	for (int i = 0; i < HAND_OVER_FRAMES && !err && !session->failed; i++) {
		struct traffic traffic = now(session);

		trial_draw_segment(&traffic, &hand_over->tuple, hand_over->memory.binding.isn,
				   &trial);
		err = tc_check_hand_over(&session->program, hand_over, &trial, &difference);
		if (err)
			break;
		count_tc(session, tc_last_reason());
		if (difference.text[0])
			fail_tc(session, "hand-over", &trial, &difference);
	}
	return err;
}

static void try_hand_over(struct session *session)
{
	struct traffic traffic = now(session);
	const struct listener *listener = draw_listener(session);
	struct connection connection = {-1, -1};
	struct hand_over hand_over = {
		.tuple.family = random_chance(&session->random, 50) ? 4 : 6,
		.tuple.destination_port = {(uint8_t)(listener->port >> 8), (uint8_t)listener->port},
	};
	struct tuple *tuple = &hand_over.tuple;
	struct situation unused;
	struct server server;
	int err = 0;

	if (session->program.ingress < 0 || !(listener->protocols & PROTOCOL_TCP) ||
	    !listener_has_family(&traffic, listener, tuple->family) || session->failed)
		return;
	address_draw(&traffic, listener, tuple->family, tuple->destination);
	network_client(&session->random, WAY_SENDER, tuple->family, tuple->source, &unused);
	random_fill(&session->random, tuple->source_port, 2);
	draw_memory(session, listener, &hand_over);
	hand_over.connected = random_chance(&session->random, 25) && network_connects(tuple) &&
			      !connection_open(tuple, false, &connection);
	open_server(session, &hand_over, &server);
	if ((server.kind == SERVER_PLAIN || server.kind == SERVER_GROUP) &&
	    network_connects(tuple) && random_chance(&session->random, 30))
		server_join(&server, tuple, hand_over.memory.port);
	hand_over.drops = server_drops(&server);
	if (hand_over.known)
		err = program_pending_write(&session->program, tuple, &hand_over.memory);
	if (!err)
		err = try_segments(session, &hand_over);
	if (err)
		fail(session, strerror(-err));
	server_close(&server);
	connection_abort(&connection);
	program_map_clear(session->program.pending);
}

/* ---- All of it ---- */

static void try_all(struct session *session)
{
	static struct trial trial;
	unsigned long first = session->tasks->frames;
	struct check check;

	for (int i = 0; i < 3 && !session->failed; i++)
		try_connection(session);
	for (int i = 0; i < 3; i++)
		try_ways_back(session);
	for (int i = 0; i < 4; i++)
		try_no_ipv4_headers(session);
	try_every_route(session);
	try_lengths(session);
	try_checksums(session);
	for (int i = 0; i < TALKS; i++)
		try_talk(session);
	for (int i = 0; i < HAND_OVERS; i++)
		try_hand_over(session);
	if (random_chance(&session->random, 30))
		try_sweep(session,
			  random_chance(&session->random, 50) ? PROTOCOL_TCP : PROTOCOL_UDP,
			  random_chance(&session->random, 50) ? 4 : 6);
	while (session->tasks->frames - first < session->options->frames && !session->failed) {
		struct traffic traffic = now(session);

		check_libcrypto(session, trial_draw(&traffic, &trial));
		try(session, 0, &trial);
	}
	if (session->failed)
		return;
	if (program_check(&session->program, &check))
		fail(session, "the counters cannot be read");
	else if (check.difference)
		fail(session, check.detail);
}

static void draw_plan(struct session *session)
{
	struct random *random = &session->random;

	session->plan = (struct plan_options){
		.counters = random_chance(random, 60)	? COUNT_AUTO
			    : random_chance(random, 50) ? COUNT_ROUTES
							: COUNT_LISTENERS,
	};
	if (random_chance(random, 20))
		session->plan.dispatch = DISPATCH_HASH;
	else if (random_chance(random, 15) && count_lines(session->text) < 60)
		session->plan.dispatch = DISPATCH_CHAIN;
}

static void copy_file(const char *name, FILE *out)
{
	FILE *in = fopen(name, "re");
	int c;

	if (!in) {
		fprintf(stderr, "cannot read %s: %s\n", name, strerror(errno));
		exit(1);
	}
	while ((c = getc(in)) != EOF)
		putc(c, out);
	fclose(in);
}

static void write_rules(const struct options *options, struct random *random, FILE *out)
{
	if (options->rules)
		copy_file(options->rules, out);
	else
		rule_file_write(random, options->patterns, !options->udp_alone, out);
}

void session_write(const struct options *options, uint64_t seed, FILE *out)
{
	struct random random = {seed};

	write_rules(options, &random, out);
}

static void note_instructions(struct session *session)
{
	struct tasks *tasks = session->tasks;

	if (session->program.instructions > tasks->instructions) {
		tasks->instructions = session->program.instructions;
		tasks->instructions_seed = session->seed;
	}
	if (session->program.tc_instructions > tasks->tc_instructions)
		tasks->tc_instructions = session->program.tc_instructions;
}

void session_run(const struct options *options, struct tasks *tasks, uint64_t seed,
		 bool splits_frames)
{
	struct session session = {
		.options = options,
		.tasks = tasks,
		.seed = seed,
		.random = {seed},
		.splits_frames = splits_frames,
		.interface = network_interface(),
	};
	char *errors = NULL;
	size_t errors_size;
	FILE *out = open_memstream(&session.text, &session.size);
	FILE *log = open_memstream(&errors, &errors_size);

	if (!out || !log)
		abort();
	write_rules(options, &session.random, out);
	fclose(out);
	host_draw(&session.random, &session.host);
	draw_plan(&session);
	if (options->planned)
		session.plan = options->plan;
	int err = program_make(session.text, session.size, &session.plan, &session.host, log,
			       &session.program);

	fclose(log);
	tasks->files++;
	if (err) {
		fail(&session, errors);
	} else {
		note_instructions(&session);
		if (options->frames)
			try_all(&session);
		program_free(&session.program);
	}
	free(errors);
	free(session.text);
}

/* ---- Kept failures ---- */

/* The rule file stands beside the trial. */
static char *read_rules_of(const char *trial, size_t *size)
{
	size_t stem = strlen(trial) - strlen(".trial");
	char name[4096], *text = NULL;
	FILE *out = open_memstream(&text, size);

	if (!out ||
	    snprintf(name, sizeof(name), "%.*s.yaml", (int)stem, trial) >= (int)sizeof(name))
		abort();
	copy_file(name, out);
	fclose(out);
	return text;
}

bool session_repeat(const char *trial, bool splits_frames)
{
	static struct kept kept;
	struct program program;
	struct check check;
	size_t size;
	char *text;
	int err = kept_read(trial, &kept);

	if (err) {
		printf("cannot read %s: %s\n", trial, strerror(-err));
		return false;
	}
	if (!splits_frames)
		kept.trial.linear = 0;
	text = read_rules_of(trial, &size);
	err = program_make(text, size, &kept.plan, &kept.host, stdout, &program);
	free(text);
	if (err)
		return false;

	int interface = kept.forwarding ? network_interface() : 0;

	err = kept_renew(&kept, clock_now());
	if (!err)
		err = trial_check(&program, &kept.host, interface, &kept.trial, &check);
	if (err)
		printf("%s cannot be run: %s\n", trial, strerror(-err));
	else if (check.difference)
		trial_report(&program, &kept.host, interface, &kept.trial, stdout);
	program_free(&program);
	return !err && !check.difference;
}
