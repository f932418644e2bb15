/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run metrics: the counters of all interfaces for Prometheus, by the textfile collector of
 * its node_exporter. That reads *.prom at any time, so the file is replaced as a whole or not at
 * all, and what it was is kept where the disk is full.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "error.h"
#include "exposition.h"
#include "pinned.h"
#include "scope.h"

/* One attachment: the source of its metrics, and what that points into. */
struct attachment_seen {
	char name[IFNAMSIZ];
	struct pinned pinned;
	struct row *rows;
	size_t count;
};

struct seen {
	struct attachment_seen *list;
	size_t count;
};

static void seen_free(struct seen *seen)
{
	for (size_t i = 0; i < seen->count; i++) {
		free(seen->list[i].rows);
		pinned_close(&seen->list[i].pinned);
	}
	free(seen->list);
}

/*
 * Returns 0; -ENOENT where nothing is attached (any more); or -errno with a sentence; and then *out
 * is untouched.
 */
static int see(const struct place *place, struct attachment_seen *out, char *error, size_t n)
{
	struct attachment_seen seen = {};
	int err;

	if (!if_indextoname(place->ifindex, seen.name))
		return -ENOENT;
	do {
		err = pinned_open(place, &seen.pinned, error, n);
		if (err)
			return err;
		err = pinned_rows(&seen.pinned, &seen.rows, &seen.count, error, n);
		if (err)
			pinned_close(&seen.pinned);
	} while (err == -ESTALE);
	if (!err)
		*out = seen;
	return err;
}

/* Looks at all interfaces of this namespace. What fails is said, and the others are seen. */
static int see_all(struct seen *seen)
{
	SCOPED(scoped_free) struct place *places = NULL;
	char error[ERROR_SIZE];
	int status = STATUS_DONE;
	uint64_t netns;
	size_t count;

	if (pinned_netns(&netns, error, sizeof(error)) ||
	    pinned_list(&places, &count, error, sizeof(error)))
		return command_failed(error);
	seen->list = calloc(count + 1, sizeof(*seen->list));
	if (!seen->list)
		return command_failed("out of memory");
	for (size_t i = 0; i < count; i++) {
		int err = places[i].netns == netns
				  ? see(&places[i], &seen->list[seen->count], error, sizeof(error))
				  : -ENOENT;

		if (!err)
			seen->count++;
		else if (err != -ENOENT)
			status = command_failed(error);
	}
	return status;
}

static int write_metrics(FILE *out, const struct seen *seen)
{
	SCOPED(scoped_free) struct source *sources = calloc(seen->count + 1, sizeof(*sources));

	if (!sources)
		return -ENOMEM;
	for (size_t i = 0; i < seen->count; i++)
		sources[i] = (struct source){
			.interface = seen->list[i].name,
			.mode = mode_name(seen->list[i].pinned.record.mode),
			.manifest = &seen->list[i].pinned.record.manifest,
			.rows = seen->list[i].rows,
			.count = seen->list[i].count,
		};
	exposition_write(out, sources, seen->count);
	/* What failed earlier may have left no number behind. */
	errno = 0;
	return fflush(out) || ferror(out) ? -(errno ?: EIO) : 0;
}

/* Others read the file, as another user: it gets the mode that a file made by open() would have. */
static mode_t ordinary_mode(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return 0666 & ~mask;
}

/* What is in a file reaches the disk before its name does. */
static int write_to(int fd, const struct seen *seen)
{
	FILE *file = fdopen(fd, "w");
	int err;

	if (!file) {
		err = -errno;
		close(fd);
		return err;
	}
	err = write_metrics(file, seen);
	if (!err && (fchmod(fd, ordinary_mode()) || fsync(fd)))
		err = -errno;
	if (fclose(file) && !err)
		err = -errno;
	return err;
}

static int replace_file(const char *path, const struct seen *seen, char *error, size_t n)
{
	char temporary[4096];
	int fd, err;

	/* The collector looks at names that end in ".prom". */
	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
		return failed(error, n, ENAMETOOLONG, "the path of the file is too long");
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return failed(error, n, errno, "cannot make a file beside %s: %s", path,
			      strerror(errno));
	err = write_to(fd, seen);
	if (!err && rename(temporary, path))
		err = -errno;
	if (!err)
		return 0;
	unlink(temporary);
	return failed(error, n, -err, "cannot write %s, which stays as it was: %s", path,
		      strerror(-err));
}

static int metrics(const char *path)
{
	SCOPED(seen_free) struct seen seen = {};
	char error[ERROR_SIZE];
	int status = see_all(&seen);

	/* Without any word of what is there the old file is better. */
	if (!seen.list)
		return status;
	if (!path && write_metrics(stdout, &seen))
		return command_failed("cannot write to standard output");
	if (path && replace_file(path, &seen, error, sizeof(error)))
		return command_failed(error);
	return status;
}

static int metrics_main(int argc, char **argv)
{
	enum {
		TEXTFILE = 1
	};
	static const struct option names[] = {
		{"textfile", required_argument, NULL, TEXTFILE},
		{},
	};
	const char *path = NULL;
	int option;

	while ((option = command_option(argc, argv, &metrics_command, names))) {
		if (option < 0)
			return STATUS_USAGE;
		path = optarg;
	}
	if (optind < argc)
		return command_usage("metrics are those of all interfaces");
	return metrics(path);
}

const struct command metrics_command = {
	.name = "metrics",
	.arguments = "[--textfile FILE]",
	.summary = "Writes the counters of all interfaces in the text format of Prometheus",
	.options =
		"  --textfile FILE    replaces the file as a whole, for node_exporter's textfile\n"
		"                     collector (FILE ends in .prom); else to standard output\n",
	.main = metrics_main,
};
