/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The differential test: random rule files through the compiler, clang and the verifier, random
 * frames through the program in the kernel, and every verdict, counter, byte and map entry held
 * against the interpreter.
 *
 *	differential [--files N] [--frames N] [--seed N] [--jobs N] [--seconds N] [--exact] [--udp]
 *		[--rules FILE] [--first] [--save FOLDER] [--progress]
 *		[--dispatch auto|chain|hash] [--counters auto|listener|route]
 *	differential --write FOLDER [--files N] [--seed N]
 *	differential --trial FILE
 *	differential --cookies WINDOWS
 *
 * A rule file and all of its frames follow from one number: file i of a run is made from seed + i,
 * so `--seed THAT --files 1` brings a failing one back (with the same --frames). --seconds is when
 * to begin no more of them; --exact leaves out ranges and '?' in tags, --udp leaves out tcp, as is
 * done by itself on a kernel that hands none over. With --rules, that rule file is the one each
 * time, and only the frames and the host are random. --first ends at the first failure and leaves
 * it as large as it is; --save keeps failures, made small, as rule files and
 * frames in a folder (kept.h), and --trial repeats one. --dispatch and --counters are mplexc's, or
 * else random. --frames 0 only loads; --write only writes the rule files. --cookies does something
 *else (cookies.c). Needs root.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/kernel.h"
#include "cookies.h"
#include "network.h"
#include "program.h"
#include "session.h"

enum {
	JOBS_MAX = 64,
	FAILURES_MAX = 3, /* of a worker; then it stops */
	PROGRESS_SECONDS = 10,
};

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
		session_run(options, tasks, options->seed + file, splits_frames);
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
	if (tasks->tc_instructions > sum->tc_instructions)
		sum->tc_instructions = tasks->tc_instructions;
	for (size_t i = 0; i < OUTCOMES_MAX && tasks->outcomes[i].reason[0]; i++)
		count_outcomes(sum, tasks->outcomes[i].reason, tasks->outcomes[i].frames);
}

/* The tasks of all workers, while they work. */
static void print_progress(const struct options *options, const struct tasks *tasks,
			   unsigned long seconds)
{
	struct tasks sum = {0};

	for (unsigned long i = 0; i < options->jobs; i++)
		add_up(&sum, &tasks[i]);
	printf("%lu of %lu rule files, %lu frames, %lu failures, %lu s\n", sum.files,
	       options->files, sum.frames, sum.failures, seconds);
	fflush(stdout);
}

/* Waits for all workers. Returns whether one of them ended early. */
static bool wait_for_workers(const struct options *options, const struct tasks *tasks,
			     unsigned long start)
{
	unsigned long left = options->jobs, shown = start;
	bool died = false;

	while (left) {
		int status;
		pid_t child = waitpid(-1, &status, options->progress ? WNOHANG : 0);

		if (child) {
			left--;
			died |= child < 0 || !WIFEXITED(status) || WEXITSTATUS(status);
			continue;
		}
		sleep(1);
		if (seconds_now() - shown >= PROGRESS_SECONDS) {
			shown = seconds_now();
			print_progress(options, tasks, shown - start);
		}
	}
	return died;
}

static int run_workers(const struct options *options)
{
	struct tasks *tasks = mmap(NULL, sizeof(*tasks) * JOBS_MAX, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct tasks sum = {0};
	bool splits_frames = kernel_splits_frames();
	unsigned long start = seconds_now();
	bool died;

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
	died = wait_for_workers(options, tasks, start);
	for (unsigned long i = 0; i < options->jobs; i++)
		add_up(&sum, &tasks[i]);
	for (size_t i = 0; i < OUTCOMES_MAX && sum.outcomes[i].reason[0]; i++)
		printf("%10lu  %s\n", sum.outcomes[i].frames, sum.outcomes[i].reason);
	printf("the verifier went through at most %u instructions (--seed %lu), and %u in TC\n",
	       sum.instructions, sum.instructions_seed, sum.tc_instructions);
	printf("%s: %lu rule files%s, %lu frames%s, %lu failures, %lu s\n",
	       sum.failures || died ? "FAILED" : "passed", sum.files,
	       options->udp_alone ? " with udp alone" : "", sum.frames,
	       splits_frames ? "" : " (this kernel does not split short frames)", sum.failures,
	       seconds_now() - start);
	if (died)
		printf("a worker ended early\n");
	return sum.failures || died;
}

/* ---- Other commands ---- */

static int write_files(const struct options *options, const char *folder)
{
	for (unsigned long i = 0; i < options->files; i++) {
		char path[4096];
		FILE *out;

		snprintf(path, sizeof(path), "%s/random_%lu.yaml", folder, options->seed + i);
		out = fopen(path, "we");
		if (!out) {
			fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
			return 1;
		}
		session_write(options, options->seed + i, out);
		fclose(out);
	}
	return 0;
}

static int repeat(const char *trial)
{
	bool splits_frames = kernel_splits_frames(), agree;
	int err = network_open();

	if (err) {
		fprintf(stderr, "no network namespace: %s; run this as root\n", strerror(-err));
		return 1;
	}
	agree = session_repeat(trial, splits_frames);
	printf("%s: %s\n", agree ? "passed" : "FAILED", trial);
	return !agree;
}

/* ---- The command line ---- */

static unsigned long number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	if (*text && !*end)
		return value;
	fprintf(stderr, "%s is no number\n", text);
	exit(2);
}

/* One of the words, as its number. */
static int word(const char *text, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(text, words[i]))
			return i;
	fprintf(stderr, "%s is none of:", text);
	for (int i = 0; words[i]; i++)
		fprintf(stderr, " %s", words[i]);
	fputc('\n', stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const char *const dispatches[] = {
		[DISPATCH_AUTO] = "auto",
		[DISPATCH_CHAIN] = "chain",
		[DISPATCH_HASH] = "hash",
		NULL,
	};
	static const char *const counters[] = {
		[COUNT_AUTO] = "auto",
		[COUNT_ROUTES] = "route",
		[COUNT_LISTENERS] = "listener",
		NULL,
	};
	static const struct option long_options[] = {
		{"files", required_argument, NULL, 'f'},
		{"frames", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'},
		{"jobs", required_argument, NULL, 'j'},
		{"seconds", required_argument, NULL, 't'},
		{"exact", no_argument, NULL, 'e'},
		{"udp", no_argument, NULL, 'u'},
		{"first", no_argument, NULL, '1'},
		{"rules", required_argument, NULL, 'r'},
		{"save", required_argument, NULL, 'S'},
		{"progress", no_argument, NULL, 'p'},
		{"dispatch", required_argument, NULL, 'd'},
		{"counters", required_argument, NULL, 'C'},
		{"write", required_argument, NULL, 'w'},
		{"trial", required_argument, NULL, 'T'},
		{"cookies", required_argument, NULL, 'c'},
		{NULL, 0, NULL, 0},
	};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct options options = {
		.seed = (uint64_t)time(NULL) << 20,
		.files = 100,
		.frames = 1500,
		.patterns = true,
		.jobs = cpus > 0 && cpus < JOBS_MAX ? (unsigned long)cpus : 1,
	};
	const char *folder = NULL;
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
		case 't':
			options.seconds = number(optarg);
			break;
		case 'e':
			options.patterns = false;
			break;
		case 'u':
			options.udp_alone = true;
			break;
		case '1':
			options.first = true;
			break;
		case 'r':
			options.rules = optarg;
			break;
		case 'S':
			options.save = optarg;
			break;
		case 'p':
			options.progress = true;
			break;
		case 'd':
			options.planned = true;
			options.plan.dispatch = (enum dispatch_choice)word(optarg, dispatches);
			break;
		case 'C':
			options.planned = true;
			options.plan.counters = (enum count_choice)word(optarg, counters);
			break;
		case 'w':
			folder = optarg;
			break;
		case 'T':
			return repeat(optarg);
		case 'c':
			return cookies_sweep((unsigned)number(optarg)) != 0;
		default:
			return 2;
		}
	}
	if (folder)
		return write_files(&options, folder);
	if (options.jobs < 1 || options.jobs > JOBS_MAX)
		options.jobs = 1;
	if (options.jobs > options.files)
		options.jobs = options.files ? options.files : 1;
	/* Such a kernel refuses the rest, and mplex-run with it. */
	options.udp_alone |= !kernel_has_kfunc("bpf_sk_assign_tcp_reqsk");
	printf("--seed %lu --files %lu --frames %lu --jobs %lu%s%s\n", options.seed, options.files,
	       options.frames, options.jobs, options.patterns ? "" : " --exact",
	       options.udp_alone ? " --udp" : "");
	return run_workers(&options);
}
