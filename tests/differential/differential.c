/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The differential test: random rule files through the compiler, clang and the verifier, random
 * frames through the program in the kernel, and every verdict, counter, byte and map entry held
 * against the interpreter.
 *
 *	differential [--files N] [--frames N] [--seed N] [--jobs N] [--seconds N] [--exact]
 *		[--rules FILE] [--first]
 *	differential --cookies WINDOWS
 *
 * A rule file and all of its frames follow from one number: file i of a run is made from seed + i,
 * so `--seed THAT --files 1` brings a failing one back (with the same --frames). --seconds is when
 * to begin no more of them; --exact leaves out ranges and '?' in tags. With --rules, that rule file
 * is the one each time, and only the frames and the host are random. --first ends at the first
 * failure and leaves it as large as it is. --cookies does something else (cookies.c). Needs root.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "cookies.h"
#include "network.h"
#include "program.h"
#include "random.h"
#include "rule_file.h"
#include "traffic.h"

enum {
	JOBS_MAX = 64,
	OUTCOMES_MAX = 32,
	FAILURES_MAX = 3,     /* of a worker; then it stops */
	SHRINK_COMPILES = 60, /* of a rule file */
	LINES_SHOWN = 60,
	CONNECTION_FRAMES = 24,
	HEADERS = 110, /* bytes of a frame that a sweep varies */
};

struct options {
	uint64_t seed;
	unsigned long files, frames, jobs;
	unsigned long seconds; /* 0: as long as it takes */
	bool patterns, first;
	const char *rules; /* a rule file's name, or NULL: random ones */
};

/* What one worker has done; shared with the parent. */
struct tasks {
	unsigned long files, frames, failures;
	uint32_t instructions; /* the most that the verifier went through, and for which seed */
	uint64_t instructions_seed;
	struct {
		char reason[16];
		unsigned long frames;
	} outcomes[OUTCOMES_MAX];
};

/* One rule file and what is tried on it. */
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

/* ---- Making smaller what failed ---- */

/* In the same way and for the same tuple: what fails otherwise may be another mistake. */
static bool still_fails(struct program *program, const struct host *host, int interface,
			const struct trial *trial, const struct check *first)
{
	struct check check;

	return !trial_check(program, host, interface, trial, &check) && check.difference &&
	       !strcmp(check.difference, first->difference) &&
	       !memcmp(&check.outcome.tuple, &first->outcome.tuple, sizeof(first->outcome.tuple));
}

/* Zeroes what of the frame does not matter, and cuts off its end. */
static void shrink_frame(struct session *session, int interface, const struct check *first,
			 struct trial *trial)
{
	static struct trial smaller;

	for (size_t size = 1024; size; size /= 2)
		for (size_t at = 0; at < trial->length; at += size) {
			size_t end = at + size < trial->length ? at + size : trial->length;

			smaller = *trial;
			memset(smaller.frame + at, 0, end - at);
			if (memcmp(smaller.frame, trial->frame, trial->length) &&
			    still_fails(&session->program, &session->host, interface, &smaller,
					first))
				*trial = smaller;
		}
	for (size_t size = 1024; size; size /= 2)
		while (trial->length >= FRAME_MIN + size) {
			smaller = *trial;
			smaller.length -= size;
			if (smaller.linear > smaller.length)
				smaller.linear = 0;
			if (!still_fails(&session->program, &session->host, interface, &smaller,
					 first))
				break;
			*trial = smaller;
		}
}

static char *find_line(char *text, size_t number)
{
	while (number-- && *text)
		text = strchr(text, '\n') + 1;
	return text;
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

/* The text without some of its lines; the caller frees it. */
static char *without_lines(const char *text, size_t first, size_t count)
{
	char *copy = strdup(text), *from, *to;

	if (!copy)
		abort();
	from = find_line(copy, first);
	to = find_line(from, count);
	memmove(from, to, strlen(to) + 1);
	return copy;
}

static bool text_fails(const struct session *session, const char *text, int interface,
		       const struct trial *trial, const struct check *first)
{
	struct program program;
	FILE *nowhere = fopen("/dev/null", "we");
	bool fails = false;

	if (nowhere &&
	    !program_make(text, strlen(text), &session->plan, &session->host, nowhere, &program)) {
		fails = still_fails(&program, &session->host, interface, trial, first);
		program_free(&program);
	}
	if (nowhere)
		fclose(nowhere);
	return fails;
}

/* Leaves out lines of the rule file, as long as the frame still fails. The caller frees it. */
static char *shrink_text(const struct session *session, int interface, const struct trial *trial,
			 const struct check *first)
{
	char *text = strdup(session->text);
	int compiles = 0;

	if (!text)
		abort();
	for (size_t size = count_lines(text) / 2; size; size /= 2)
		for (size_t at = 2; at < count_lines(text) && compiles < SHRINK_COMPILES;) {
			char *smaller = without_lines(text, at, size);
			bool fails = text_fails(session, smaller, interface, trial, first);

			compiles++;
			if (fails) {
				free(text);
				text = smaller;
			} else {
				free(smaller);
				at += size;
			}
		}
	return text;
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

static void fail_trial(struct session *session, int interface, const struct trial *trial,
		       const struct check *check)
{
	static struct trial smaller;
	char *report, *text;
	size_t size;
	FILE *out = open_report(session, &report, &size);

	fprintf(out, "first seen: %s: %s\n", check->difference, check->detail);
	smaller = *trial;
	if (!session->options->first)
		shrink_frame(session, interface, check, &smaller);
	trial_report(&session->program, &session->host, interface, &smaller, out);
	print_host(&session->host, out);
	if (session->options->first) {
		print_rules(session->text, out);
	} else {
		text = shrink_text(session, interface, &smaller, check);
		print_rules(text, out);
		free(text);
	}
	fclose(out);
	publish(report, size);
	session->failed = true;
	session->tasks->failures++;
}

static void count_outcome(struct tasks *tasks, const char *reason)
{
	for (size_t i = 0; i < OUTCOMES_MAX; i++) {
		if (!tasks->outcomes[i].reason[0])
			strncpy(tasks->outcomes[i].reason, reason,
				sizeof(tasks->outcomes[i].reason) - 1);
		if (strcmp(tasks->outcomes[i].reason, reason))
			continue;
		tasks->outcomes[i].frames++;
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
	count_outcome(session->tasks, check.outcome.reason ? check.outcome.reason : "not ours");
	if (check.difference)
		fail_trial(session, interface, trial, &check);
}

static struct traffic now(struct session *session)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (struct traffic){
		.random = &session->random,
		.rules = &session->program.rules,
		.host = &session->host,
		.now = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec,
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

static void run_file(const struct options *options, struct tasks *tasks, uint64_t seed,
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
	if (options->rules)
		copy_file(options->rules, out);
	else
		rule_file_write(&session.random, options->patterns, out);
	fclose(out);
	host_draw(&session.random, &session.host);
	draw_plan(&session);
	int err = program_make(session.text, session.size, &session.plan, &session.host, log,
			       &session.program);

	fclose(log);
	tasks->files++;
	if (err) {
		fail(&session, errors);
	} else {
		if (session.program.instructions > tasks->instructions) {
			tasks->instructions = session.program.instructions;
			tasks->instructions_seed = seed;
		}
		try_all(&session);
		program_free(&session.program);
	}
	free(errors);
	free(session.text);
}

/* Whether this kernel can be told where the first buffer of a frame ends: asked once. */
static bool probe_frames(void)
{
	static const char text[] = "version: 1\nlisteners:\n  a:\n    protocol: udp\n    port: 1\n"
				   "    length: 1\n    tag: {offset: 0}\n    routes: {a: 2}\n";
	const struct plan_options plan = {0};
	const struct host host = {0};
	struct program program;
	bool splits;

	if (program_make(text, strlen(text), &plan, &host, stdout, &program))
		exit(1);
	splits = program_splits_frames(&program);
	program_free(&program);
	return splits;
}

/* ---- Workers ---- */

static unsigned long seconds_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (unsigned long)time.tv_sec;
}

static void work(const struct options *options, unsigned long worker, bool splits_frames,
		 struct tasks *tasks)
{
	unsigned long start = seconds_now();
	int err = network_open();

	if (err) {
		fprintf(stderr, "no network namespace: %s; run this as root\n", strerror(-err));
		exit(1);
	}
	for (unsigned long file = worker; file < options->files; file += options->jobs) {
		if (tasks->failures >= (options->first ? 1 : FAILURES_MAX))
			break;
		if (options->seconds && seconds_now() - start >= options->seconds)
			break;
		run_file(options, tasks, options->seed + file, splits_frames);
	}
	exit(0);
}

static void add_up(struct tasks *sum, const struct tasks *tasks)
{
	sum->files += tasks->files;
	sum->frames += tasks->frames;
	sum->failures += tasks->failures;
	if (tasks->instructions > sum->instructions) {
		sum->instructions = tasks->instructions;
		sum->instructions_seed = tasks->instructions_seed;
	}
	for (size_t i = 0; i < OUTCOMES_MAX && tasks->outcomes[i].reason[0]; i++) {
		count_outcome(sum, tasks->outcomes[i].reason);
		for (size_t j = 0; j < OUTCOMES_MAX; j++)
			if (!strcmp(sum->outcomes[j].reason, tasks->outcomes[i].reason))
				sum->outcomes[j].frames += tasks->outcomes[i].frames - 1;
	}
}

static int run_workers(const struct options *options)
{
	struct tasks *tasks = mmap(NULL, sizeof(*tasks) * JOBS_MAX, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct tasks sum = {0};
	bool splits_frames = probe_frames();
	unsigned long start = seconds_now();
	bool died = false;

	if (tasks == MAP_FAILED)
		abort();
	fflush(stdout);
	for (unsigned long i = 0; i < options->jobs; i++) {
		pid_t child = fork();

		if (child < 0)
			abort();
		if (!child)
			work(options, i, splits_frames, &tasks[i]);
	}
	for (unsigned long i = 0; i < options->jobs; i++) {
		int status;

		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
			died = true;
	}
	for (unsigned long i = 0; i < options->jobs; i++)
		add_up(&sum, &tasks[i]);
	for (size_t i = 0; i < OUTCOMES_MAX && sum.outcomes[i].reason[0]; i++)
		printf("%10lu  %s\n", sum.outcomes[i].frames, sum.outcomes[i].reason);
	printf("the verifier went through at most %u instructions (--seed %lu)\n", sum.instructions,
	       sum.instructions_seed);
	printf("%s: %lu rule files, %lu frames%s, %lu failures, %lu s\n",
	       sum.failures || died ? "FAILED" : "passed", sum.files, sum.frames,
	       splits_frames ? "" : " (this kernel does not split short frames)", sum.failures,
	       seconds_now() - start);
	if (died)
		printf("a worker ended early\n");
	return sum.failures || died;
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	if (*text && !*end)
		return value;
	fprintf(stderr, "%s is no number\n", text);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"files", required_argument, NULL, 'f'},   {"frames", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'},	   {"jobs", required_argument, NULL, 'j'},
		{"seconds", required_argument, NULL, 't'}, {"exact", no_argument, NULL, 'e'},
		{"first", no_argument, NULL, '1'},	   {"rules", required_argument, NULL, 'r'},
		{"cookies", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0},
	};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct options options = {
		.seed = (uint64_t)time(NULL) << 20,
		.files = 100,
		.frames = 1500,
		.patterns = true,
		.jobs = cpus > 0 && cpus < JOBS_MAX ? (unsigned long)cpus : 1,
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'f':
			options.files = number(optarg);
			break;
		case 'n':
			options.frames = number(optarg);
			break;
		case 's':
			options.seed = number(optarg);
			break;
		case 'j':
			options.jobs = number(optarg);
			break;
		case '1':
			options.first = true;
			break;
		case 't':
			options.seconds = number(optarg);
			break;
		case 'e':
			options.patterns = false;
			break;
		case 'c':
			return cookies_sweep((unsigned)number(optarg)) != 0;
		case 'r':
			options.rules = optarg;
			break;
		default:
			return 2;
		}
	}
	if (options.jobs < 1 || options.jobs > JOBS_MAX)
		options.jobs = 1;
	if (options.jobs > options.files)
		options.jobs = options.files ? options.files : 1;
	printf("--seed %lu --files %lu --frames %lu --jobs %lu%s\n", options.seed, options.files,
	       options.frames, options.jobs, options.patterns ? "" : " --exact");
	return run_workers(&options);
}
