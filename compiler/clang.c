/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clang: the step from BPF C to an object, for those who do not want to see the C.
 *
 * It runs in a folder of its own, on relative names, so that neither that folder nor the name of
 * the output gets into the debug information. No shell is involved.
 */
#include "clang.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "diagnostic.h"
#include "output.h"

#define CODE_NAME   "mplex.bpf.c"
#define OBJECT_NAME "mplex.bpf.o"

extern char **environ;

/* A folder for this one run. */
struct workshop {
	char folder[PATH_MAX], code[PATH_MAX + 16], object[PATH_MAX + 16];
};

static int workshop_open(struct workshop *workshop)
{
	const char *parent = getenv("TMPDIR");

	if (!parent || !*parent)
		parent = "/tmp";
	if (snprintf(workshop->folder, sizeof(workshop->folder), "%s/mplexc-XXXXXX", parent) >=
	    (int)sizeof(workshop->folder))
		return -ENAMETOOLONG;
	if (!mkdtemp(workshop->folder))
		return -errno;
	snprintf(workshop->code, sizeof(workshop->code), "%s/" CODE_NAME, workshop->folder);
	snprintf(workshop->object, sizeof(workshop->object), "%s/" OBJECT_NAME, workshop->folder);
	return 0;
}

static void workshop_close(struct workshop *workshop)
{
	unlink(workshop->code);
	unlink(workshop->object);
	rmdir(workshop->folder);
}

/* What ends the program ends clang first; whoever waits then cleans up and passes it on. */
static const int endings[] = {SIGINT, SIGTERM, SIGHUP};

static int wait_for(pid_t child, const sigset_t *awaited, int *ending)
{
	int status;

	for (;;) {
		int signal = sigwaitinfo(awaited, NULL);

		if (signal > 0 && signal != SIGCHLD) {
			*ending = signal;
			kill(child, signal);
		}
		if (waitpid(child, &status, WNOHANG) == child)
			return status;
	}
}

static int spawn(const char *clang, const char *folder, const sigset_t *mask, pid_t *child)
{
	const char *const arguments[] = {
		clang, "-O2", "-g",	   "-target", "bpf", "-fdebug-compilation-dir=.",
		"-c",  "-o",  OBJECT_NAME, CODE_NAME, NULL,
	};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int err;

	err = posix_spawn_file_actions_init(&actions);
	if (err)
		return -err;
	err = posix_spawnattr_init(&attributes);
	if (err) {
		posix_spawn_file_actions_destroy(&actions);
		return -err;
	}
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, mask);
	err = posix_spawn_file_actions_addchdir_np(&actions, folder);
	if (!err)
		err = posix_spawnp(child, clang, &actions, &attributes, (char **)arguments,
				   environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return -err;
}

static int run(const char *clang, const char *folder, int *status)
{
	sigset_t awaited, before;
	int ending = 0, err;
	pid_t child;

	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++)
		sigaddset(&awaited, endings[i]);
	sigprocmask(SIG_BLOCK, &awaited, &before);
	err = spawn(clang, folder, &before, &child);
	if (!err)
		*status = wait_for(child, &awaited, &ending);
	/* Still blocked: it takes effect when the folder is gone. */
	if (ending)
		raise(ending);
	return err;
}

static int read_object(const char *path, void **object, size_t *size)
{
	FILE *file = fopen(path, "re");
	struct stat status;
	void *bytes;
	int err = 0;

	if (!file)
		return -errno;
	if (fstat(fileno(file), &status)) {
		err = -errno;
		fclose(file);
		return err;
	}
	bytes = malloc(status.st_size ? status.st_size : 1);
	if (!bytes)
		err = -ENOMEM;
	else if (fread(bytes, 1, status.st_size, file) != (size_t)status.st_size)
		err = -EIO;
	fclose(file);
	if (err) {
		free(bytes);
		return err;
	}
	*object = bytes;
	*size = status.st_size;
	return 0;
}

static int compile(const char *clang, const struct workshop *workshop, const char *code,
		   size_t size, struct diagnostics *diagnostics, void **object, size_t *object_size)
{
	int status, err = output_write(workshop->code, code, size);

	if (err) {
		diagnostics_error(diagnostics, NOWHERE, "cannot write %s: %s", workshop->code,
				  strerror(-err));
		return err;
	}
	err = run(clang, workshop->folder, &status);
	if (err) {
		diagnostics_error(diagnostics, NOWHERE,
				  "cannot run %s: %s: install clang, or name it with the "
				  "environment variable CLANG",
				  clang, strerror(-err));
		return err;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		diagnostics_error(diagnostics, NOWHERE,
				  WIFEXITED(status) ? "%s failed with status %d: try clang 14 or "
						      "later, with libbpf's headers installed"
						    : "%s was ended by signal %d",
				  clang,
				  WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		return -EIO;
	}
	err = read_object(workshop->object, object, object_size);
	if (err)
		diagnostics_error(diagnostics, NOWHERE, "cannot read what %s made: %s", clang,
				  strerror(-err));
	return err;
}

int clang_compile(const char *code, size_t size, struct diagnostics *diagnostics, void **object,
		  size_t *object_size)
{
	const char *named = getenv("CLANG"), *clang = named && *named ? named : "clang";
	char resolved[PATH_MAX];
	struct workshop workshop;
	sigset_t before;
	int err;

	/* A relative path is meant from here, not from the folder that clang runs in. */
	if (strchr(clang, '/') && realpath(clang, resolved))
		clang = resolved;
	sigprocmask(SIG_SETMASK, NULL, &before);
	err = workshop_open(&workshop);
	if (err) {
		diagnostics_error(diagnostics, NOWHERE,
				  "cannot make a folder for temporary files: %s: name one with the "
				  "environment variable TMPDIR",
				  strerror(-err));
		return err;
	}
	err = compile(clang, &workshop, code, size, diagnostics, object, object_size);
	workshop_close(&workshop);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return err;
}
