/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Output: files that are there whole or not at all.
 *
 * A build that was interrupted, or whose disk was full, must not leave half a program where the
 * next step of the build finds it. So the bytes go to a new file in the same folder, which then
 * takes the name.
 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	ANY_MODE = 0666,
};

static void free_text(char **text)
{
	free(*text);
}

static int write_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t written = write(fd, bytes, size);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		bytes += written;
		size -= written;
	}
	return 0;
}

static int write_in_place(const char *path, const void *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, bytes, size);
	if (close(fd) && !err)
		err = -errno;
	return err;
}

/* The mode that the file has, or that a new one gets. */
static mode_t file_mode(const char *path)
{
	struct stat status;
	mode_t mask;

	if (!stat(path, &status))
		return status.st_mode & 0777;
	mask = umask(0);
	umask(mask);
	return ANY_MODE & ~mask;
}

/* Fills the new file that `temporary` names and gives it its name. */
static int fill_and_rename(int fd, const char *temporary, const char *path, const void *bytes,
			   size_t size)
{
	int err = write_all(fd, bytes, size);

	if (!err && fchmod(fd, file_mode(path)))
		err = -errno;
	/* After a power cut the name must not stand for a file without its bytes. */
	if (!err && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(temporary, path))
		err = -errno;
	if (err)
		unlink(temporary);
	return err;
}

static int replace(const char *path, const void *bytes, size_t size)
{
	__attribute__((cleanup(free_text))) char *temporary = NULL;
	const char *slash = strrchr(path, '/');
	int folder = slash ? slash + 1 - path : 0, fd, err;
	sigset_t ending, before;

	if (asprintf(&temporary, "%.*s.mplexc-XXXXXX", folder, path) < 0) {
		temporary = NULL;
		return -ENOMEM;
	}
	/* It takes a moment: what would end the program can wait until no half file is left. */
	sigemptyset(&ending);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGHUP);
	sigprocmask(SIG_BLOCK, &ending, &before);
	fd = mkostemp(temporary, O_CLOEXEC);
	err = fd < 0 ? -errno : fill_and_rename(fd, temporary, path, bytes, size);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return err;
}

int output_write(const char *path, const void *bytes, size_t size)
{
	__attribute__((cleanup(free_text))) char *target = NULL;
	struct stat status;

	if (!strcmp(path, "-") || !strcmp(path, "/dev/stdout"))
		return write_all(STDOUT_FILENO, bytes, size);
	if (!stat(path, &status) && !S_ISREG(status.st_mode))
		return write_in_place(path, bytes, size);
	/* A link stays one: the file that it leads to is replaced. */
	target = realpath(path, NULL);
	return replace(target ? target : path, bytes, size);
}
