/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Keeps two mplex-run apart that want to change the same interface.
 *
 * The lock is on the directory of the pins (flock works on any directory), so whoever sees the same
 * pins sees the same lock, and it ends with its process, however that ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "lock.h"
#include "scope.h"

/* A reader asks by taking the lock for an instant. */
enum {
	TRIES = 50,
	PAUSE = 10 * 1000 * 1000, /* ns */
};

/* The process that holds the lock of a file; 0 where the kernel does not tell it to us. */
static int holder(int fd)
{
	SCOPED(scoped_fclose) FILE *locks = fopen("/proc/locks", "re");
	unsigned major_number, minor_number;
	unsigned long inode;
	struct stat status;
	char line[256];
	int pid;

	if (!locks || fstat(fd, &status))
		return 0;
	/* "1: FLOCK  ADVISORY  WRITE 1234 00:1a:5678 0 EOF"; with "->" where one waits. */
	while (fgets(line, sizeof(line), locks)) {
		if (sscanf(line, "%*s FLOCK ADVISORY WRITE %d %x:%x:%lu", &pid, &major_number,
			   &minor_number, &inode) == 4 &&
		    inode == status.st_ino && major_number == major(status.st_dev) &&
		    minor_number == minor(status.st_dev))
			return pid;
	}
	return 0;
}

static int take(int fd, bool wait)
{
	const struct timespec pause = {.tv_nsec = PAUSE};

	if (wait) {
		while (flock(fd, LOCK_EX)) {
			if (errno != EINTR)
				return -errno;
		}
		return 0;
	}
	for (int i = 0; i < TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

/* Whether the path still leads to the directory: its holder may have removed it. */
static bool is_at(int fd, const char *path)
{
	struct stat ours, theirs;

	return !fstat(fd, &ours) && !stat(path, &theirs) && ours.st_ino == theirs.st_ino &&
	       ours.st_dev == theirs.st_dev;
}

int lock_directory(const char *path, const char *interface, bool wait, char *error, size_t n)
{
	for (;;) {
		SCOPED(scoped_close) int fd = -1;
		int err, pid;

		if (mkdir(path, 0700) && errno != EEXIST)
			return failed(error, n, errno, "cannot make %s: %s", path, strerror(errno));
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		err = fd < 0 ? -errno : take(fd, wait);
		if (err == -EBUSY) {
			pid = holder(fd);
			return failed(error, n, EBUSY,
				      "another mplex-run (process %d%s) has %s: let it finish, or "
				      "end it if it runs in the foreground",
				      pid, pid ? "" : ", of another container", interface);
		}
		if (err)
			return failed(error, n, -err, "cannot lock %s: %s", path, strerror(-err));
		if (is_at(fd, path))
			return TAKE_FD(fd);
	}
}

bool lock_is_held(const char *path)
{
	SCOPED(scoped_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
}
