/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Memory that runs out: every allocation of a run fails once, one after another.
 *
 *	out_of_memory mplexc ARGUMENT...	the whole of mplexc, as main() runs it
 *	out_of_memory object FILE		mplex-run's opening of an object
 *
 * malloc and its kin are defined here, so that those of the libraries fail, too. A run that misses
 * memory has to end with status 1 and a sentence, or to do without and end as it should; what it
 * has allocated is free afterwards, and the output is whole or not there. Each failure is tried in
 * a process that has run before, where what a run leaves behind shows, and in a fresh one, where
 * the libraries still have to set themselves up.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/err.h>

#include "error.h"
#include "object.h"

enum {
	FRESH_RUNS = 350, /* at most so many allocations fail in fresh processes, evenly spread */
};

int mplexc_main(int argc, char **argv);

/* ---- Allocation ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static unsigned long allocations, failing; /* the one that fails; 0: none */
static long held;			   /* blocks that are allocated */

static bool fails(void)
{
	if (++allocations != failing)
		return false;
	errno = ENOMEM;
	return true;
}

static void *counted(void *memory)
{
	held += memory != NULL;
	return memory;
}

void *malloc(size_t size)
{
	return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
	void *moved;

	if (fails())
		return NULL;
	moved = __libc_realloc(memory, size);
	if (!memory)
		return counted(moved);
	held -= !moved && !size;
	return moved;
}

void *reallocarray(void *memory, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(memory, total);
}

void *memalign(size_t alignment, size_t size)
{
	return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
	void *made = memalign(alignment, size);

	if (!made)
		return ENOMEM;
	*memory = made;
	return 0;
}

void free(void *memory)
{
	held -= memory != NULL;
	__libc_free(memory);
}

/* ---- Runs ---- */

static int count_of_arguments;
static char **arguments;
static const char *output; /* the file that a run is to write, or NULL */
static int standard_error; /* the real one */
static int said;	   /* what a run says, a file in memory */

static int run_mplexc(void)
{
	int status;

	optind = 0; /* glibc: all of getopt anew */
	status = mplexc_main(count_of_arguments, arguments);
	fflush(stdout);
	return status;
}

static int run_object(void)
{
	char error[ERROR_SIZE];
	struct object object;
	int err = object_open(arguments[1], &object, error, sizeof(error));

	if (err) {
		fprintf(stderr, "%s\n", error);
		/* jansson cuts a string short, and libbpf may crash: then the object is refused. */
		return err == -ENOMEM || strstr(error, "is malformed") ? 1 : 3;
	}
	object_close(&object);
	return 0;
}

static int (*run)(void);

/* One run in which that allocation fails. Returns the status; *reached is whether it came so far.
 */
static int run_failing(unsigned long number, bool *reached)
{
	int status;

	if (output)
		unlink(output);
	if (ftruncate(said, 0) || lseek(said, 0, SEEK_SET) < 0)
		abort();
	allocations = 0;
	failing = number;
	status = run();
	failing = 0;
	*reached = allocations >= number;
	ERR_clear_error(); /* libcrypto keeps the last few for whoever asks */
	return status;
}

__attribute__((format(printf, 2, 3))) static void wrong(unsigned long number, const char *format,
							...)
{
	char text[4096];
	ssize_t length = pread(said, text, sizeof(text) - 1, 0);
	va_list list;

	text[length > 0 ? length : 0] = '\0';
	dprintf(standard_error, "allocation %lu fails: ", number);
	va_start(list, format);
	vdprintf(standard_error, format, list);
	va_end(list);
	dprintf(standard_error, "\nIt said:\n%s", text);
	_exit(1);
}

/* The output of a run, which stays mapped; NULL where there is none. */
static const char *map_output(size_t *size)
{
	int file = open(output, O_RDONLY | O_CLOEXEC);
	void *mapped = MAP_FAILED;
	struct stat stat;

	if (file >= 0 && !fstat(file, &stat)) {
		*size = (size_t)stat.st_size;
		mapped = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, file, 0);
	}
	close(file);
	return mapped == MAP_FAILED ? NULL : mapped;
}

static const char *whole; /* the output of a run with enough memory */
static size_t whole_size;

static bool is_whole(void)
{
	size_t size = 0;
	const char *written = map_output(&size);
	bool same = written && size == whole_size && !memcmp(written, whole, size);

	if (written)
		munmap((void *)written, size);
	return same;
}

/* What holds of every run; clean is the status of a run with enough memory. */
static void check(unsigned long number, int status, int clean)
{
	char text[4096];
	ssize_t length = pread(said, text, sizeof(text) - 1, 0);
	bool written = output && !access(output, F_OK);

	text[length > 0 ? length : 0] = '\0';
	if (status != clean && status != 1)
		wrong(number, "status %d", status);
	if (status == 1 && clean != 1 && !strstr(text, "out of memory") &&
	    !strstr(text, "Cannot allocate memory") && !strstr(text, "is malformed"))
		wrong(number, "it did not say so");
	if (output && written != !status)
		wrong(number, "status %d, and the output is %s", status,
		      written ? "there" : "missing");
	if (output && !status && !is_whole())
		wrong(number, "status 0, and the output is not whole");
}

/* In this process: what is held afterwards, and again afterwards, is lost. */
static void fail_in_warm_process(unsigned long number, int clean, bool *reached)
{
	long before = held, once;
	int status = run_failing(number, reached);

	check(number, status, clean);
	once = held;
	if (once == before)
		return;
	/* A library may have set something up for good, but not every time. */
	run_failing(number, reached);
	if (held > once)
		wrong(number, "%ld blocks are lost", held - once);
}

/* In a process of its own. Returns the status; *came_to is how many allocations there were. */
static int run_fresh(unsigned long number, unsigned long *came_to)
{
	static unsigned long *shared;
	pid_t child;
	bool reached;
	int status;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	child = fork();
	if (!child) {
		status = run_failing(number, &reached);
		*shared = allocations;
		_exit(status);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		abort();
	if (!WIFEXITED(status))
		wrong(number, "in a fresh process: signal %d", WTERMSIG(status));
	*came_to = *shared;
	return WEXITSTATUS(status);
}

static unsigned long current;

static void crashed(int number)
{
	failing = 0;
	wrong(current, "signal %d", number);
}

int main(int argc, char **argv)
{
	unsigned long number, count, came_to;
	bool reached;
	int clean;

	if (argc < 3 || (strcmp(argv[1], "mplexc") && strcmp(argv[1], "object")))
		return 2;
	run = strcmp(argv[1], "mplexc") ? run_object : run_mplexc;
	count_of_arguments = argc - 1;
	arguments = argv + 1;
	for (int i = 2; i + 1 < argc; i++)
		if (!strcmp(argv[i], "-o"))
			output = argv[i + 1];
	mallopt(M_PERTURB, 0xa5); /* what is used after it was freed shows */
	standard_error = dup(STDERR_FILENO);
	said = memfd_create("said", MFD_CLOEXEC);
	if (said < 0 || dup2(said, STDERR_FILENO) < 0 || !freopen("/dev/null", "w", stdout))
		return 2;

	/* First, while this process has set nothing up yet. */
	clean = run_fresh(0, &count);
	if (output)
		whole = map_output(&whole_size);
	for (number = 1; number <= count; number += 1 + count / FRESH_RUNS)
		check(number, run_fresh(number, &came_to), clean);

	signal(SIGSEGV, crashed);
	signal(SIGABRT, crashed);
	for (int i = 0; i < 2; i++)
		run_failing(0, &reached);
	for (number = 1, reached = true; reached; number++) {
		current = number;
		fail_in_warm_process(number, clean, &reached);
	}
	dprintf(standard_error, "%lu allocations in a fresh process, %lu in this\n", count,
		number - 2);
	return 0;
}
