/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A session: a rule file from its number, its program, and frame after frame through both the
 * program and the interpreter, until they differ or there were enough.
 */
#include <errno.h>
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
#include "traffic.h"

enum {
	LINES_SHOWN = 60,
	CONNECTION_FRAMES = 24,
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
		"host: MAC %s, local known %d (%u IPv4, %u IPv6), key %016lx %016lx, MSS %u %u, "
		"window %u << %u, SACK %d, timestamps %d, ECN %d, TTL %u, hop limit %u, "
		"redirect %d\n",
		host->mac[0] ? "set" : "unset", host->local_known, host->local_v4_count,
		host->local_v6_count, host->key[0], host->key[1], host->mss_v4, host->mss_v6,
		host->window, host->window_scale, host->sack, host->timestamps, host->ecn,
		host->ttl, host->hop_limit, host->redirect);
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
		"\n==== FAILED: --seed %lu --files 1 --frames %lu%s%s%s (dispatch %d, counters by "
		"route %d)\n",
		session->seed, session->options->frames,
		session->options->patterns ? "" : " --exact",
		session->options->rules ? " --rules " : "",
		session->options->rules ? session->options->rules : "", session->plan.dispatch,
		session->plan.count_routes);
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

static void try(struct session *session, int interface, struct trial *trial)
{
	struct check check;
	int err;

	if (session->failed)
		return;
	if (!session->splits_frames)
		trial->linear = 0;
	err = trial_check(&session->program, &session->host, interface, trial, &check);
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

static void try_every_route(struct session *session)
{
	static struct trial trial;
	const struct rules *rules = &session->program.rules;

	for (size_t i = 0; i < rules->listener_count; i++)
		for (size_t j = 0; j < rules->listeners[i].route_count && !session->failed; j++) {
			struct traffic traffic = now(session);

			check_libcrypto(session,
					trial_draw_message(&traffic, &rules->listeners[i],
							   &rules->listeners[i].routes[j], &trial));
			try(session, 0, &trial);
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

static void try_all(struct session *session)
{
	static struct trial trial;
	unsigned long first = session->tasks->frames;
	struct check check;

	for (int i = 0; i < 3 && !session->failed; i++)
		try_connection(session);
	for (int i = 0; i < 3; i++)
		try_ways_back(session);
	try_every_route(session);
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

	session->plan = (struct plan_options){.count_routes = random_chance(random, 20)};
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
		rule_file_write(random, options->patterns, out);
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
